//! `GET /api/proxy/explain`: how the gateway reads targeting parameters, and what they would find now.

use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use iploop_platform::admission;
use iploop_platform::network::Pool;
use iploop_platform::plan::Plan;
use iploop_protocol::targeting::{
    CountrySet, Dns, Failover, Gate, RotateOn, Rotation, SessionName, Sticky, Targeting,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::key_holder;
use crate::session::SignedIn;
use crate::state::ApiState;

/// The route below `/api/proxy`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// What is to be explained.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Params {
    /// Parameters as they stand behind the key, with or without the first dash.
    #[param(example = "country-US-city-miami")]
    #[serde(default)]
    params: String,
}

/// How parameters are read, and what they would find now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainAnswer {
    /// The same wishes in canonical form.
    #[schema(example = "country-US-city-miami")]
    parameters: String,
    rules: Vec<Rule>,
    plan: PlanGates,
    pool: PoolInfo,
    chance: Chance,
}

/// One wish, as it is understood.
#[derive(Serialize, ToSchema)]
struct Rule {
    #[schema(example = "country")]
    parameter: &'static str,
    #[schema(example = "US")]
    value: String,
    /// What follows from it.
    meaning: String,
}

/// Whether the plan has what the parameters ask for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PlanGates {
    name: String,
    /// False: the gateway answers 403 `plan_feature`.
    is_allowed: bool,
    /// The features that these parameters use.
    gates: Vec<GateInfo>,
}

/// A feature that a plan may lack.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GateInfo {
    #[schema(value_type = String, example = "city")]
    gate: Gate,
    /// The parameter that needs it.
    parameter: &'static str,
    is_open: bool,
}

/// The devices that fit and can take a connection now; none where the asking key is for other countries.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PoolInfo {
    nodes: u64,
    /// False: there are too many to be counted, and this is an estimate from a sample.
    is_exact: bool,
}

/// The chance that a request to a healthy destination gets through now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Chance {
    /// 0 to 1.
    success: f64,
    /// The chance of one dial, from what the devices did in the last hours; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    dial_success: Option<f64>,
    /// Dials that one request may use: no more than there are devices.
    attempts: u32,
    /// How `success` follows from the others.
    formula: &'static str,
}

const FORMULA: &str =
    "success = 1 - (1 - dialSuccess)^attempts; 0 where no device fits or the plan lacks a gate";

/// Who may ask: somebody signed in, or the holder of a key, as `Authorization: Bearer iploop_…`.
pub(crate) struct Asker {
    plan: Option<Plan>,
    /// The countries that the key is for; empty: all.
    countries: CountrySet,
}

impl FromRequestParts<ApiState> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Some(grant) = key_holder::grant(parts, state).await? else {
            let account = SignedIn::from_request_parts(parts, state).await?.account().id;
            state.may_explain(account)?;
            let plan = state.parts().store.plan_of(account).await?;
            return Ok(Self {
                plan,
                countries: CountrySet::EMPTY,
            });
        };
        state.may_explain(grant.key.account)?;
        Ok(Self {
            plan: Some(grant.plan),
            countries: grant.key.limits.countries,
        })
    }
}

/// How targeting parameters are read, which gates of the plan they need, how many devices fit now, and the chance of success.
///
/// Takes a login, or an API key as `Authorization: Bearer iploop_…`. Parameters that can't be read are answered as the proxy
/// answers them: same code, detail, hint and parameter. An account may ask 60 times at once, and then 5 times a second.
#[utoipa::path(
    get, path = "/explain", tag = "proxy", params(Params), security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = ExplainAnswer, description = "How the parameters are read"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "The account asks too often; see Retry-After"),
    )
)]
pub(crate) async fn explain(
    State(state): State<ApiState>,
    Asker { plan, countries }: Asker,
    Query(Params { params }): Query<Params>,
) -> Result<Json<ExplainAnswer>, ApiError> {
    let targeting = Targeting::parse(&params).map_err(|error| ApiError::Targeting(Box::new(error)))?;
    // As the gateway does it: a key for some countries narrows what is asked for, and serves nothing outside them.
    let narrowed = match countries.is_empty() {
        true => Ok(targeting.clone()),
        false => targeting.within(countries),
    };
    let is_for_key = narrowed.is_ok();
    let targeting = narrowed.unwrap_or(targeting);
    let plan = plan.ok_or_else(|| ApiError::Internal("an account without a plan".to_owned()))?;
    let gates: Vec<GateInfo> = targeting
        .gates()
        .map(|gate| GateInfo {
            gate,
            parameter: targeting.parameter_for(gate).as_str(),
            is_open: admission::opens(&plan.gates, gate),
        })
        .collect();
    let is_allowed = gates.iter().all(|gate| gate.is_open);
    let pool = match is_for_key {
        true => state.parts().network.pool_everywhere(&targeting).await,
        false => Pool {
            exact: true,
            ..Pool::default()
        },
    };
    Ok(Json(ExplainAnswer {
        parameters: targeting.to_string(),
        rules: rules(&targeting),
        chance: chance(&pool, state.parts().max_attempts, is_allowed),
        plan: PlanGates {
            name: plan.name,
            is_allowed,
            gates,
        },
        pool: PoolInfo {
            nodes: pool.nodes,
            is_exact: pool.exact,
        },
    }))
}

fn chance(pool: &Pool, max_attempts: u32, is_allowed: bool) -> Chance {
    let attempts = u32::try_from(pool.nodes).map_or(max_attempts, |nodes| nodes.min(max_attempts));
    let failure = pool.dial_success.map_or(1.0, |success| 1.0 - success);
    let exponent = i32::try_from(attempts).unwrap_or(i32::MAX);
    let success = if is_allowed && pool.nodes > 0 {
        1.0 - failure.powi(exponent)
    } else {
        0.0
    };
    // A tenth of a per mille is more than anybody knows.
    let rounded = |share: f64| (share * 1e4).round() / 1e4;
    Chance {
        success: rounded(success),
        dial_success: pool.dial_success.map(rounded),
        attempts,
        formula: FORMULA,
    }
}

/// Each wish in words.
fn rules(targeting: &Targeting) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut rule = |parameter, value: Option<String>, meaning: &str| {
        if let Some(value) = value {
            rules.push(Rule {
                parameter,
                value,
                meaning: meaning.to_owned(),
            });
        }
    };
    let countries = |set: &CountrySet| (!set.is_empty()).then(|| set.to_string());
    rule(
        "country",
        countries(targeting.countries()),
        "the exit is in one of these countries",
    );
    rule(
        "exclude",
        countries(targeting.excluded()),
        "the exit is known to be in none of these countries",
    );
    rule(
        "region",
        targeting.region().map(text),
        "the exit is in this region or state, by name or code",
    );
    rule(
        "city",
        targeting.city().map(text),
        "the exit is in this city, by any of its usual names",
    );
    rule(
        "zip",
        targeting.postal_code().map(text),
        "the exit has this postal code, where that is known",
    );
    rule(
        "asn",
        targeting.asn().map(|asn| text(&asn)),
        "the exit is in this autonomous system",
    );
    rule("isp", targeting.isp().map(text), "the exit is with this provider");
    rule(
        "net",
        targeting.connection().map(|net| text(&net)),
        "the device is connected like this",
    );
    rule(
        "os",
        targeting.device().map(|os| text(&os)),
        "the device is of this kind",
    );
    rule(
        "speed",
        targeting.min_speed_mbps().map(|speed| speed.to_string()),
        "the exit has carried at least so many Mbit/s lately; one that was not measured does not fit",
    );
    rule(
        "latency",
        targeting
            .max_latency()
            .map(|latency| latency.as_millis().to_string()),
        "connecting through the exit has lately taken at most so many milliseconds; one that was not measured does not fit",
    );
    rule(
        "profile",
        targeting.profile().map(|profile| text(&profile)),
        "plain HTTP requests carry this browser's headers",
    );
    let dns = match targeting.dns() {
        Dns::Exit => "names are resolved by the device",
        Dns::Gateway => "names are resolved by the gateway",
    };
    rule("dns", Some(text(&targeting.dns())), dns);
    rule(
        "debug",
        targeting.debug().then(|| "1".to_owned()),
        "answers carry timings, attempts and these parameters",
    );
    rules.extend(rotation(targeting.rotation()));
    rules
}

/// When the exit changes, in words.
fn rotation(rotation: &Rotation) -> Vec<Rule> {
    let rule = |parameter, value: String, meaning: &str| Rule {
        parameter,
        value,
        meaning: meaning.to_owned(),
    };
    let Sticky {
        session,
        lifetime,
        idle,
        rotate,
        failover,
    } = match rotation {
        Rotation::EachTunnel => {
            let meaning = "each tunnel or plain request gets another exit, if there is one";
            return vec![rule("sesstype", "rotating".to_owned(), meaning)];
        }
        Rotation::EachRequestDistinct => {
            let meaning =
                "the exit's address differs from the last one of this key, else 503 no_distinct_exit";
            return vec![rule("sesstype", "per-request".to_owned(), meaning)];
        }
        Rotation::Sticky(sticky) => sticky,
    };
    let mut rules = match session {
        SessionName::Given(id) => vec![rule(
            "session",
            id.to_string(),
            "all requests of this session go through one exit",
        )],
        SessionName::Derived => vec![rule(
            "sesstype",
            "sticky".to_owned(),
            "one exit for this key, these parameters and the client's address",
        )],
    };
    let seconds = |time: &std::time::Duration| format!("{}s", time.as_secs());
    rules.push(rule(
        "lifetime",
        seconds(lifetime),
        "the session ends so long after its first use",
    ));
    if let Some(idle) = idle {
        rules.push(rule(
            "idle",
            seconds(idle),
            "the session ends when it was not used for so long",
        ));
    }
    let moves = match rotate {
        RotateOn::Nothing => None,
        RotateOn::Clock => Some(("time", "the session gets a new exit when its lifetime ends")),
        RotateOn::Demand => Some(("manual", "the session gets a new exit when it is asked for")),
        RotateOn::IpChange => Some(("ip-change", "the session ends when its exit's address changes")),
    };
    rules.extend(moves.map(|(mode, meaning)| rule("rotate", mode.to_owned(), meaning)));
    let meaning = match failover {
        Failover::Any => "any fitting exit takes the place of one that is gone",
        Failover::SameAsn => "an exit in the same autonomous system takes the place of one that is gone",
        Failover::SameIp => "an exit behind the same address takes the place of one that is gone",
        Failover::None => "nothing takes the place of an exit that is gone: 503 session_exit_gone",
    };
    rules.push(rule("failover", failover.to_string(), meaning));
    rules
}

fn text(value: &impl ToString) -> String {
    value.to_string()
}
