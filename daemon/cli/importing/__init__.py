"""`linnet import`: objects of Flagger and Argo Rollouts as objects of Linnet, with a word about every field.

Moving from one delivery tool to another fails on what is quietly left behind. So every leaf of what is read ends in one of
three places: mapped, different (with what differs), or without a counterpart (with the way out). What nobody claimed is
without a counterpart by construction, and what is written passes `linnet lint`.
"""
