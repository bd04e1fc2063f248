{{/*
What the daemon may do where it works. Each rule says who uses it; a test compares what is granted with what the audit log of all
scenarios shows. Secrets are read one by one, by name: never listed, and none watched but that of the webhook's own certificates.
*/}}
{{- define "linnet.rules" -}}
# What users write, and the catalogue: informers.
- apiGroups: [linnet.dev]
  resources: [canaryprofiles, metricsources, flagsources, notifiers, freezes, releasegroups, analysistemplates]
  verbs: [list, watch]
# Adoption makes a Canary for an annotated Deployment and takes it away with the annotation; the finalizer guards the route.
- apiGroups: [linnet.dev]
  resources: [canaries]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [linnet.dev]
  resources: [canaries/status, notifiers/status, releasegroups/status]
  verbs: [patch]
# The judge's evidence, one object a rollout; listed to keep a bounded number.
- apiGroups: [linnet.dev]
  resources: [analysisruns]
  verbs: [get, list, create, patch, delete]
# Hold, release and restore of the user's Deployment; the canary's own Deployment.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Which template serves; scaling two ReplicaSets in lock step while a promotion settles.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch, patch]
# The stored stable template and the memory of failed revisions.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list, watch, create, patch, delete]
# Readiness, restarts and addresses of both versions.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The Service of the canary, read anew where it is there already; every Service is compared with the pods' labels.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# flagd's flags live in a ConfigMap that a FlagSource names.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, patch]
# ... or in a FeatureFlag of the OpenFeature operator.
- apiGroups: [core.openfeature.dev]
  resources: [featureflags]
  verbs: [get, patch]
# Credentials that a MetricSource, FlagSource or Notifier names.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Whether two versions could mount the claim that the pods of a Deployment share.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
# The stable floor: minReplicas is lifted while traffic is away, and restored.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, patch]
# Preflight compares their selectors with the pods of both versions.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch]
# The weights, and what the gateway says of them. Other kinds than those of the Gateway API are watched once a Canary names one.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes]
  verbs: [get, list, watch, patch]
- apiGroups: [traefik.io]
  resources: [traefikservices]
  verbs: [get, list, watch, patch]
- apiGroups: [projectcontour.io]
  resources: [httpproxies]
  verbs: [get, list, watch, patch]
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, patch]
# Whether what they say of a Service holds for the canary's, too.
- apiGroups: [networking.istio.io]
  resources: [destinationrules]
  verbs: [list, watch]
# An Ingress is never written: the canary's is one of ours beside it.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch, create, patch, delete]
{{- if .Values.jobs.enabled }}
# Jobs of templates and gates: made once, followed, and taken away when their release is over.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, delete]
{{- end }}
# What happened, on the Canary and on the Deployment.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/*
With rbac.observeOnly: everything is read, and nothing is written but Linnet's own kinds, Events and the Lease. No right to a Deployment, a
route, a flag or an autoscaler is among them, so nothing of a user's can change, whatever a Canary asks for.
*/}}
{{- define "linnet.observeRules" -}}
# What users write, and the catalogue: informers.
- apiGroups: [linnet.dev]
  resources: [canaryprofiles, metricsources, flagsources, notifiers, freezes, releasegroups, analysistemplates]
  verbs: [list, watch]
# A Canary for an annotated Deployment, taken away with the annotation.
- apiGroups: [linnet.dev]
  resources: [canaries]
  verbs: [list, watch, create, patch, delete]
# What would have been done, and when the last digest went out.
- apiGroups: [linnet.dev]
  resources: [canaries/status, notifiers/status, releasegroups/status]
  verbs: [patch]
# The judge's evidence.
- apiGroups: [linnet.dev]
  resources: [analysisruns]
  verbs: [get, list, create, patch, delete]
# Which pods are of which version.
- apiGroups: [apps]
  resources: [deployments, replicasets, controllerrevisions]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods, services]
  verbs: [list, watch]
# Credentials that a MetricSource or Notifier names.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# What the caches hold for the day when it is let do more.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes]
  verbs: [list, watch]
# What happened, on the Canary and on the Deployment.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* The same for the catalogue's namespace. */}}
{{- define "linnet.observeCatalogueRules" -}}
# Profiles and sources for all namespaces: informers.
- apiGroups: [linnet.dev]
  resources: [canaryprofiles, metricsources, flagsources, notifiers, freezes, analysistemplates]
  verbs: [list, watch]
# When the last digest went out.
- apiGroups: [linnet.dev]
  resources: [notifiers/status]
  verbs: [patch]
# Credentials that an object of the catalogue names.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end -}}

{{/* Kinds that Canaries describe in spec.traffic.routers. */}}
{{- define "linnet.describedRules" -}}
{{- range .Values.rbac.routes }}
- apiGroups: [{{ .group | quote }}]
  resources: [{{ .resource | quote }}]
  verbs: [get, list, watch, patch]
{{- end }}
{{- end -}}

{{/* With the HTTP API: one Canary. */}}
{{- define "linnet.apiRules" -}}
{{- if .Values.api.enabled -}}
# The state of one release, for whoever asks the API.
- apiGroups: [linnet.dev]
  resources: [canaries]
  verbs: [get]
{{- end -}}
{{- end -}}

{{/* With the webhook: which certificates the API server trusts is written into its configuration; `linnet doctor` looks for it. */}}
{{- define "linnet.webhookRules" -}}
{{- if and (include "linnet.webhook" .) (empty .Values.scope.namespaces) -}}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  resourceNames: [linnet-hold]
  verbs: [get, list, watch, patch]
{{- end -}}
{{- end -}}

{{- define "linnet.webhookSecretRules" -}}
# Its certificates, which any replica makes and all serve.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "linnet.fullname" . }}-webhook]
  verbs: [list, watch, patch]
{{- end -}}

{{/* The cleanup hook's alone, wherever it works. */}}
{{- define "linnet.cleanupRules" -}}
# The status of a Canary that was given back is blanked on the newest version there is.
- apiGroups: [linnet.dev]
  resources: [canaries]
  verbs: [get]
{{- end -}}

{{/* Cluster-wide only: are the policies of the hold there? (`linnet doctor`, in `helm test`) And kinds without a namespace. */}}
{{- define "linnet.clusterRules" -}}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingadmissionpolicies, validatingadmissionpolicies, mutatingadmissionpolicybindings, validatingadmissionpolicybindings]
  resourceNames: [linnet-hold, linnet-release]
  verbs: [get]
# Whether the controller of an Ingress obeys canary annotations.
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
{{- if .Values.caps.namespaceAnnotations }}
# The caps that Namespaces have of their own.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
{{- end -}}

{{/* In the release's namespace, where it is none of the namespaces that Linnet works in: the catalogue and its credentials. */}}
{{- define "linnet.catalogueRules" -}}
# Profiles and sources for all namespaces: informers.
- apiGroups: [linnet.dev]
  resources: [canaryprofiles, metricsources, flagsources, notifiers, freezes, analysistemplates]
  verbs: [list, watch]
# When the last digest went out.
- apiGroups: [linnet.dev]
  resources: [notifiers/status]
  verbs: [patch]
# flagd's flags of a FlagSource in the catalogue.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, patch]
# ... or in a FeatureFlag of the OpenFeature operator.
- apiGroups: [core.openfeature.dev]
  resources: [featureflags]
  verbs: [get, patch]
# Credentials that an object of the catalogue names.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end -}}

{{- define "linnet.leaseRules" -}}
# Leader election; `linnet doctor` and the cleanup read who leads. A create cannot be limited to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ .Values.leaderElection.leaseName }}]
  verbs: [get, update]
{{- end -}}

{{/* One role and its binding. Takes root, account, annotations, name, namespace (empty: cluster-wide), rules. */}}
{{- define "linnet.grant" -}}
{{- $kind := ternary "ClusterRole" "Role" (empty .namespace) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "linnet.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
rules:
{{ .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "linnet.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
- kind: ServiceAccount
  name: {{ .account }}
  namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{/* Everything that the daemon may do, for one ServiceAccount: the daemon's, or the cleanup hook's (with `more` rules). Takes root, account, annotations, more. */}}
{{- define "linnet.grants" -}}
{{- $root := .root -}}
{{- $common := dict "root" $root "account" .account "annotations" .annotations "name" .account -}}
{{- $namespaces := $root.Values.scope.namespaces -}}
{{- $observe := $root.Values.rbac.observeOnly -}}
{{- $rules := printf "%s\n%s\n%s" (include "linnet.rules" $root) (include "linnet.describedRules" $root | trim) .more | trim -}}
{{- if $observe }}{{ $rules = printf "%s\n%s" (include "linnet.observeRules" $root) .more | trim }}{{ end -}}
{{- if not $namespaces }}
---
{{ include "linnet.grant" (merge (dict "namespace" "" "rules" (printf "%s\n%s" $rules (include "linnet.clusterRules" $root))) $common) }}
{{- end }}
{{- range $namespaces }}
---
{{ include "linnet.grant" (merge (dict "namespace" . "rules" $rules) $common) }}
{{- end }}
{{- if and $namespaces (not (has $root.Release.Namespace $namespaces)) }}
---
{{ include "linnet.grant" (merge (dict "namespace" $root.Release.Namespace "rules" (include (ternary "linnet.observeCatalogueRules" "linnet.catalogueRules" $observe) $root)) $common) }}
{{- end }}
---
{{ include "linnet.grant" (merge (dict "namespace" (include "linnet.leaseNamespace" $root) "name" (printf "%s-lease" .account) "rules" (include "linnet.leaseRules" $root)) $common) }}
{{- end -}}
