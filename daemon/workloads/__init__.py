"""The Deployments of a rollout: the user's, held and released by its leaves, and our canary beside it."""
