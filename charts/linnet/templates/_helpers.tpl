{{- define "linnet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "linnet.fullname" -}}
{{- $name := include "linnet.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "linnet.selectorLabels" -}}
app.kubernetes.io/name: {{ include "linnet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: daemon
{{- end -}}

{{- define "linnet.labels" -}}
app.kubernetes.io/name: {{ include "linnet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "linnet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "linnet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount to use when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "linnet.cleanupAccount" -}}
{{- printf "%s-cleanup" (include "linnet.fullname" .) -}}
{{- end -}}

{{- define "linnet.leaseNamespace" -}}
{{- default .Release.Namespace .Values.leaderElection.leaseNamespace -}}
{{- end -}}

{{- define "linnet.image" -}}
{{- $i := .Values.image -}}
{{- $name := ternary $i.repository (printf "%s/%s" $i.registry $i.repository) (empty $i.registry) -}}
{{- if $i.digest -}}
{{- printf "%s@%s" $name $i.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $i.tag) -}}
{{- end -}}
{{- end -}}

{{/* The CEL list of who is Linnet: the daemon, the uninstall hook, and whom the values add. */}}
{{- define "linnet.usernames" -}}
{{- $names := list (printf "system:serviceaccount:%s:%s" .Release.Namespace (include "linnet.serviceAccount" .)) -}}
{{- $names = append $names (printf "system:serviceaccount:%s:%s" .Release.Namespace (include "linnet.cleanupAccount" .)) -}}
{{- $quoted := list -}}
{{- range concat $names .Values.hold.extraUsernames -}}
{{- $quoted = append $quoted (printf "'%s'" .) -}}
{{- end -}}
[{{ join ", " $quoted }}]
{{- end -}}

{{/* Where to work: the same for the daemon, `helm test` and the cleanup. */}}
{{- define "linnet.scopeArgs" -}}
{{- range .Values.scope.namespaces }}
- --namespace={{ . }}
{{- end }}
- --catalogue-namespace={{ .Release.Namespace }}
{{- end -}}

{{- define "linnet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "linnet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Token by projection (the account itself mounts none), and the one writable folder. */}}
{{- define "linnet.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
- name: api-access
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken:
        path: token
        expirationSeconds: 3600
    - configMap:
        name: kube-root-ca.crt
        items:
        - key: ca.crt
          path: ca.crt
    - downwardAPI:
        items:
        - path: namespace
          fieldRef:
            apiVersion: v1
            fieldPath: metadata.namespace
{{- end -}}

{{- define "linnet.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: api-access
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end -}}
