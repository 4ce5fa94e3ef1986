// Package crds makes this module require one whose files the tests read: the
// definitions of ServiceMonitor, PodMonitor and PrometheusRule, in
// example/prometheus-operator-crd. The package that is imported is a small one.
package crds

import _ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
