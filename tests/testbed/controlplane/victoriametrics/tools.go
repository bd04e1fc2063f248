//go:build tools

// Package tools pins the VictoriaMetrics server that the tests run against.
package tools

import _ "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics"
