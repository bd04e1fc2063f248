{{/*
Whether the rules of one file (`wish` is its value) are wanted at all, and what evaluates the part of them that changes objects:
`policy` (the API server, where it has MutatingAdmissionPolicy), `webhook` (the daemon), or nothing.
*/}}
{{- define "linnet.wanted" -}}
{{- $wish := toString .wish -}}
{{- if or (eq $wish "true") (and (eq $wish "auto") (empty .root.Values.scope.namespaces) (not .root.Values.rbac.observeOnly)) -}}true{{- end -}}
{{- end -}}

{{- define "linnet.mutatedBy" -}}
{{- $known := .root.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- $webhook := toString .root.Values.hold.webhook.enabled -}}
{{- if include "linnet.wanted" . -}}
{{- if or (eq $webhook "true") (and (eq $webhook "auto") (not $known) (empty .root.Values.scope.namespaces)) -}}webhook
{{- else if or $known (eq (toString .wish) "true") -}}policy
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" or empty: does the daemon serve the webhook? */}}
{{- define "linnet.webhook" -}}
{{- $hold := include "linnet.mutatedBy" (dict "root" . "wish" .Values.hold.policies) | trim -}}
{{- $verbs := include "linnet.mutatedBy" (dict "root" . "wish" .Values.verbs.policies) | trim -}}
{{- if has "webhook" (list $hold $verbs) -}}true{{- end -}}
{{- end -}}

{{/* Admission policies of one file, for whom Linnet is told by name and only where it works. Takes root, wish, file. */}}
{{- define "linnet.policies" -}}
{{- $root := .root }}
{{- $by := include "linnet.mutatedBy" . | trim }}
{{- $text := $root.Files.Get .file | replace "LINNET_USERNAMES" (include "linnet.usernames" $root) }}
{{- $labels := include "linnet.labels" $root | fromYaml }}
{{- range $document := splitList "\n---\n" $text }}
{{- $object := fromYaml $document }}
{{- if and $object.kind (or (eq $by "policy") (hasPrefix "Validating" $object.kind)) }}
{{- $_ := set $object.metadata "labels" $labels }}
{{- if and $root.Values.scope.namespaces (hasKey $object.spec "matchConstraints") }}
{{- $_ := set $object.spec.matchConstraints "namespaceSelector" (include "linnet.scopeSelector" $root | fromYaml) }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "linnet.scopeSelector" -}}
matchExpressions:
- key: kubernetes.io/metadata.name
  operator: In
  values:
    {{- toYaml .Values.scope.namespaces | nindent 4 }}
{{- end -}}

{{/* The mutating policies of one file as webhooks: the same resources and the same conditions, word by word. Takes root, file. */}}
{{- define "linnet.webhooks" -}}
{{- $root := .root }}
{{- $text := $root.Files.Get .file | replace "LINNET_USERNAMES" (include "linnet.usernames" $root) }}
{{- range $document := splitList "\n---\n" $text }}
{{- $object := fromYaml $document }}
{{- if eq (toString $object.kind) "MutatingAdmissionPolicy" }}
{{- $what := trimPrefix "linnet-" $object.metadata.name }}
- name: {{ $what }}.linnet.dev
  clientConfig:
    service:
      namespace: {{ $root.Release.Namespace }}
      name: {{ include "linnet.fullname" $root }}-webhook
      path: /{{ $what }}
      port: 443
    {{- with $root.Values.hold.webhook.caBundle }}
    caBundle: {{ . }}
    {{- end }}
  # The daemon's absence changes nothing (promise P5): what passes meanwhile is noticed as Bypassed.
  failurePolicy: Ignore
  timeoutSeconds: {{ $root.Values.hold.webhook.timeoutSeconds }}
  sideEffects: None
  admissionReviewVersions: [v1]
  reinvocationPolicy: {{ $object.spec.reinvocationPolicy }}
  {{- if $root.Values.scope.namespaces }}
  namespaceSelector:
    {{- include "linnet.scopeSelector" $root | nindent 4 }}
  {{- end }}
  rules:
    {{- toYaml $object.spec.matchConstraints.resourceRules | nindent 4 }}
  matchConditions:
    {{- toYaml $object.spec.matchConditions | nindent 4 }}
{{- end }}
{{- end }}
{{- end -}}
