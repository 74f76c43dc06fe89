//! Deployments in Prometheus' text format (version 0.0.4), for node_exporter's textfile collector: each metric with its
//! help and its type, then one line for each deployment.

use super::status_file::{Status, WORKING};
use crate::config::Settings;
use crate::outcome::Outcome;
use crate::store::state::State;

/// Reads a value of a deployment; `None`: there is none yet.
type Get = fn(&Status) -> Option<String>;

/// The metrics that have one value for each deployment: name without prefix, type, help.
const METRICS: [(&str, &str, &str, Get); 9] = [
    ("last_check_timestamp_seconds", "gauge", "When the last check ended.", |s| time(s, "last-check")),
    ("last_success_timestamp_seconds", "gauge", "When the last check that succeeded ended.", |s| {
        time(s, "last-success")
    }),
    ("last_deployment_timestamp_seconds", "gauge", "When the last deployment ended.", |s| time(s, "last-deployment")),
    ("last_check_success", "gauge", "Whether the last check succeeded.", |s| {
        s.text("outcome").map(|_| u8::from(s.is_good()).to_string())
    }),
    ("last_check_duration_seconds", "gauge", "How long the last check took.", |s| {
        let ms = s.number("took-ms")?;
        Some(format!("{}.{:03}", ms / 1000, ms % 1000))
    }),
    ("working_since_timestamp_seconds", "gauge", "Since when the deployment at work is at it; 0: none is.", |s| {
        Some(s.number(WORKING).unwrap_or(0).to_string())
    }),
    ("checks_total", "counter", "Checks so far.", |s| count(s, "checks")),
    ("deployments_total", "counter", "Deployments so far.", |s| count(s, "deployments")),
    ("fetched_bytes_total", "counter", "Bytes of archives fetched so far.", |s| count(s, "bytes")),
];

fn time(status: &Status, key: &str) -> Option<String> {
    status.number(key).map(|n| n.to_string())
}

fn count(status: &Status, key: &str) -> Option<String> {
    Some(status.number(key).unwrap_or(0).to_string())
}

/// The values of a deployment.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The deployment.
    pub settings: &'a Settings,
    /// The result of its last check, and counters.
    pub last: &'a Status,
    /// Its state, which names the live release.
    pub state: Option<&'a State>,
}

/// All metrics as text.
pub fn text(samples: &[Sample<'_>]) -> String {
    let mut text = String::new();
    for (name, kind, help, get) in METRICS {
        head(&mut text, name, kind, help);
        for sample in samples {
            if let Some(value) = get(sample.last) {
                line(&mut text, name, &[("id", &sample.settings.id)], &value);
            }
        }
    }
    // All kinds are always present, so that a rate over them sees the first failure.
    head(&mut text, "failures_total", "counter", "Checks that failed so far, by kind.");
    for sample in samples {
        for outcome in Outcome::FAILURES {
            let kind = outcome.word();
            let count = sample.last.failures().find(|(failure, _)| *failure == kind).map_or(0, |(_, n)| n);
            let labels = [("id", sample.settings.id.as_str()), ("kind", kind)];
            line(&mut text, "failures_total", &labels, &count.to_string());
        }
    }
    head(&mut text, "info", "gauge", "What is live: always 1.");
    for sample in samples {
        let Some(current) = sample.state.and_then(|state| state.current.as_ref()) else { continue };
        let remote = sample.settings.remote.to_string();
        let labels = [
            ("id", sample.settings.id.as_str()),
            ("remote", &remote),
            ("release", current.release.as_str()),
            ("revision", current.revision.as_str()),
        ];
        line(&mut text, "info", &labels, "1");
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    for part in ["# HELP repo_deploy_", name, " ", help, "\n# TYPE repo_deploy_", name, " ", kind, "\n"] {
        text.push_str(part);
    }
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: &str) {
    text.push_str("repo_deploy_");
    text.push_str(name);
    for (n, (label, value)) in labels.iter().enumerate() {
        for part in [if n == 0 { "{" } else { "," }, label, "=\"", &escaped(value), "\""] {
            text.push_str(part);
        }
    }
    for part in ["} ", value, "\n"] {
        text.push_str(part);
    }
}

/// A label's value: backslash, quote and newline are escaped, nothing else is.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '\\' | '"' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use crate::report::metrics::escaped;

    #[test]
    fn labels_are_escaped_as_the_format_has_it() {
        assert_eq!(escaped("etag:\"a\\b\"\n"), "etag:\\\"a\\\\b\\\"\\n");
        assert_eq!(escaped("plain ü"), "plain ü");
    }
}
