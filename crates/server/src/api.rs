//! `/api/v1`: each view as JSON.

use crate::{AppState, StateError};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use taproot_export::prometheus;

/// The time summed over when the question names none.
const DEFAULT_LAST: Duration = Duration::from_mins(5);

/// The longest time that can be asked for: a day.
const LONGEST: u64 = 86_400;

type App = Arc<dyn AppState>;

pub(crate) fn router(state: App) -> Router {
    Router::new()
        .route("/api/v1/health", get(health))
        .route("/api/v1/map", get(async |s, q| over(s, q, AppState::map).await))
        .route("/api/v1/services", get(async |s, q| over(s, q, AppState::services).await))
        .route("/api/v1/flows", get(async |s, q| over(s, q, AppState::flows).await))
        .route("/api/v1/requests", get(async |s, q| over(s, q, AppState::requests).await))
        .route("/api/v1/losses", get(async |s, q| over(s, q, AppState::losses).await))
        .route("/api/v1/reports", get(reports))
        .route("/api/v1/reports/{id}", get(report))
        .route("/api/v1/report", get(latest_report))
        .route("/api/v1/doctor", get(doctor))
        .route("/metrics", get(metrics))
        .with_state(state)
}

/// A refusal, as JSON.
#[derive(Debug)]
enum Refusal {
    State(StateError),
    BadSpan(String),
    NoReport(String),
    Panicked,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::State(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            Self::BadSpan(text) => (StatusCode::BAD_REQUEST, text),
            Self::NoReport(text) => (StatusCode::NOT_FOUND, text),
            Self::Panicked => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer could not be made: see the log, and report it as a bug".into(),
            ),
        };
        let body = json!({ "schema_version": crate::SCHEMA_VERSION, "error": text });
        (status, Json(body)).into_response()
    }
}

/// `?last=5m`.
#[derive(Debug, Deserialize)]
struct Over {
    last: Option<String>,
}

impl Over {
    fn duration(&self) -> Result<Duration, Refusal> {
        let Some(text) = &self.last else { return Ok(DEFAULT_LAST) };
        parse(text).ok_or_else(|| {
            Refusal::BadSpan(format!(
                "“{text}” is no time to look back: give a number with a unit from 1s to 24h, \
                 such as last=90s, last=5m or last=1h"
            ))
        })
    }
}

/// A number with a unit: `90s`, `5m`, `1h`.
fn parse(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=LONGEST).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Makes an answer on a thread that may block: views take locks and add up.
async fn answer<T: Serialize + Send + 'static>(
    app: App,
    make: impl FnOnce(&dyn AppState) -> Result<T, Refusal> + Send + 'static,
) -> Result<Json<T>, Refusal> {
    let made = tokio::task::spawn_blocking(move || make(app.as_ref())).await;
    made.unwrap_or(Err(Refusal::Panicked)).map(Json)
}

async fn over<T: Serialize + Send + 'static>(
    State(app): State<App>,
    Query(over): Query<Over>,
    view: fn(&dyn AppState, Duration) -> Result<T, StateError>,
) -> Result<Json<T>, Refusal> {
    let last = over.duration()?;
    answer(app, move |app| view(app, last).map_err(Refusal::State)).await
}

async fn health(State(app): State<App>) -> Result<Response, Refusal> {
    Ok(answer(app, |app| Ok(app.health())).await?.into_response())
}

async fn reports(State(app): State<App>) -> Result<Response, Refusal> {
    let made = answer(app, |app| app.reports().map_err(Refusal::State)).await?;
    Ok(made.into_response())
}

async fn report(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let made = answer(app, move |app| {
        app.report(&id).map_err(Refusal::State)?.ok_or_else(|| {
            Refusal::NoReport(format!("no report “{id}”: /api/v1/reports lists them"))
        })
    });
    Ok(made.await?.into_response())
}

async fn latest_report(State(app): State<App>) -> Result<Response, Refusal> {
    let made = answer(app, |app| {
        let reports = app.reports().map_err(Refusal::State)?.reports;
        let newest = reports.first().map(|head| app.report(&head.id)).transpose();
        newest
            .map_err(Refusal::State)?
            .flatten()
            .ok_or_else(|| Refusal::NoReport("no report yet: nothing was found wrong".into()))
    });
    Ok(made.await?.into_response())
}

async fn doctor(State(app): State<App>) -> Result<Response, Refusal> {
    let made = answer(app, |app| app.doctor().map_err(Refusal::State)).await?;
    Ok(made.into_response())
}

async fn metrics(State(app): State<App>) -> Result<Response, Refusal> {
    let made = answer(app, |app| app.metrics().map_err(Refusal::State)).await?;
    Ok(([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], made.0).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_look_back_has_a_unit_and_bounds() {
        assert_eq!(parse("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse("5m"), Some(Duration::from_mins(5)));
        assert_eq!(parse("24h"), Some(Duration::from_hours(24)));
        for bad in ["", "s", "0s", "25h", "5", "-1m", "5 m", "1d", "99999999999999999999s", "é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
