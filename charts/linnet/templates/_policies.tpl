{{/* Admission policies of one file, for whom Linnet is told by name and only where it works. */}}
{{- define "linnet.policies" -}}
{{- $root := .root }}
{{- $text := $root.Files.Get .file | replace "LINNET_USERNAMES" (include "linnet.usernames" $root) }}
{{- $labels := include "linnet.labels" $root | fromYaml }}
{{- range $document := splitList "\n---\n" $text }}
{{- $object := fromYaml $document }}
{{- if $object.kind }}
{{- $_ := set $object.metadata "labels" $labels }}
{{- if and $root.Values.scope.namespaces (hasKey $object.spec "matchConstraints") }}
{{- $names := dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" $root.Values.scope.namespaces }}
{{- $_ := set $object.spec.matchConstraints "namespaceSelector" (dict "matchExpressions" (list $names)) }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end -}}
