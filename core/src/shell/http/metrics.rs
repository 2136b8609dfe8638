//! `/metrics` in the OpenMetrics text format that Prometheus reads.
