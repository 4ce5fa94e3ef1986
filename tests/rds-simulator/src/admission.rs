//! Whether a request to an API may be carried out.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    action::{Action, Service},
    answer::ApiError,
    ram::{access_key::AccessKey, arn},
    rds,
    request::{ParsedRequest, SignatureMethod, Style},
    signature,
    state::State,
    sts, throttle,
    work::{Admitted, Work},
};

/// How far a request's timestamp may be off.
const TIMESTAMP_TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// Whether a request may be carried out: form, access key, signature, nonce, rate, parameters and permission, in that order.
pub(crate) fn admit(
    state: &mut State,
    now: Timestamp,
    request: &ParsedRequest,
) -> Result<Admitted, ApiError> {
    if !matches!(request.method.as_str(), "GET" | "POST") {
        return Err(ApiError::new(
            400,
            "UnsupportedHTTPMethod",
            "This http method is not supported.",
        ));
    }
    if let Some(problem) = request.parameters.problem() {
        return Err(ApiError::new(
            400,
            "InvalidParameter",
            format!("The parameters are not valid: {problem}."),
        ));
    }
    request.format()?;
    let action = find_action(request)?;
    match action {
        Action::ResetAccountPassword => admit_rds(
            state,
            now,
            request,
            action,
            rds::Call::reset_account_password,
        ),
        Action::DescribeDBInstanceAttribute => admit_rds(
            state,
            now,
            request,
            action,
            rds::Call::describe_db_instance_attribute,
        ),
        Action::DescribeAccounts => {
            admit_rds(state, now, request, action, rds::Call::describe_accounts)
        }
        Action::AssumeRole => {
            let caller = authenticate(state, now, request, action)?;
            sts::admit_assume_role(request, &caller, &state.roles)
                .map(|assumed| Admitted::assume(action, assumed))
        }
        Action::AssumeRoleWithOidc => {
            check_unsigned(state, now, request, action)?;
            sts::admit_assume_role_with_oidc(
                request,
                &state.oidc_providers,
                &state.roles,
                state.cloud_time(now),
            )
            .map(|assumed| Admitted::assume(action, assumed))
        }
        // They have ports of their own, and no version finds them here.
        Action::GetMetadataToken
        | Action::GetMetadataRoleName
        | Action::GetMetadataCredentials
        | Action::GetCredentialsUri => Err(action_not_found()),
    }
}

fn admit_rds(
    state: &mut State,
    now: Timestamp,
    request: &ParsedRequest,
    action: Action,
    parse: impl FnOnce(&ParsedRequest) -> Result<rds::Call, ApiError>,
) -> Result<Admitted, ApiError> {
    let key = authenticate(state, now, request, action)?;
    let call = parse(request)?;
    let region = state
        .instances
        .get(&call.instance)
        .map_or("*", |instance| instance.region.as_str());
    let resource = format!(
        "acs:rds:{region}:{}:dbinstance/{}",
        key.cloud_account, call.instance
    );
    key.authorize(&state.roles, action, Some(&call.instance), &resource)?;
    Ok(Admitted {
        action,
        role: key.role().map(str::to_owned),
        work: Work::Rds {
            call,
            cloud_account: key.cloud_account,
        },
    })
}

/// The key that a request is signed with: timestamp, key, signature, nonce and rate, in that order.
fn authenticate(
    state: &mut State,
    now: Timestamp,
    request: &ParsedRequest,
    action: Action,
) -> Result<AccessKey, ApiError> {
    let cloud_time = state.cloud_time(now);
    check_timestamp(
        protocol_value(request, request.timestamp(), "Timestamp", "x-acs-date")?,
        cloud_time,
    )?;
    let nonce = protocol_value(
        request,
        request.nonce(),
        "SignatureNonce",
        "x-acs-signature-nonce",
    )?
    .to_owned();
    let key_id = protocol_value(
        request,
        request.access_key_id(),
        "AccessKeyId",
        "Authorization",
    )?
    .to_owned();
    let key = state
        .access_keys
        .find(&key_id, request.security_token(), cloud_time)?;
    match request.style {
        Style::Rpc => signature::rpc::verify(request, &key.secret)?,
        Style::Acs3 => signature::acs3::verify(request, &key.secret)?,
    }
    // Only a right signature uses a nonce up: otherwise anyone could use up another's.
    use_nonce(&mut state.nonces, key_id, nonce, cloud_time)?;
    throttle::take_token(&mut state.throttles, action, &key.cloud_account, now)?;
    Ok(key.clone())
}

/// An action that is called without a key. A signature is refused, although it is not documented what the real service does
/// with one: a client that sends it has mistaken whose identity it is to use.
fn check_unsigned(
    state: &mut State,
    now: Timestamp,
    request: &ParsedRequest,
    action: Action,
) -> Result<(), ApiError> {
    if request.signature() != SignatureMethod::Unsigned {
        return Err(ApiError::new(
            400,
            "InvalidParameter",
            format!(
                "{} is called without AccessKeyId and Signature.",
                action.name()
            ),
        ));
    }
    if let Some(timestamp) = request.timestamp() {
        check_timestamp(timestamp, state.cloud_time(now))?;
    }
    // Whose limit an anonymous call counts against is not documented; the role's owner is the only account in it.
    let owner = request
        .parameter("RoleArn")
        .and_then(|role| arn::parse(role, "role"));
    if let Some((cloud_account, _)) = owner {
        throttle::take_token(&mut state.throttles, action, cloud_account, now)?;
    }
    Ok(())
}

/// The action that version and name tell.
pub(crate) fn find_action(request: &ParsedRequest) -> Result<Action, ApiError> {
    let version = protocol_value(request, request.version(), "Version", "x-acs-version")?;
    let action = protocol_value(request, request.action(), "Action", "x-acs-action")?;
    // In the cloud each service has a host of its own; here the version alone tells them apart.
    let service = Service::of_version(version).ok_or_else(|| {
        ApiError::new(
            400,
            "InvalidVersion",
            "Specified parameter Version is not valid.",
        )
    })?;
    if request.path != "/" {
        return Err(action_not_found());
    }
    Action::named(service, action).ok_or_else(action_not_found)
}

fn action_not_found() -> ApiError {
    ApiError::new(
        404,
        "InvalidAction.NotFound",
        "Specified api is not found, please check your url and method.",
    )
}

fn protocol_value<'a>(
    request: &ParsedRequest,
    value: Option<&'a str>,
    parameter: &str,
    header: &str,
) -> Result<&'a str, ApiError> {
    value.ok_or_else(|| {
        ApiError::missing(match request.style {
            Style::Rpc => parameter,
            Style::Acs3 => header,
        })
    })
}

fn check_timestamp(text: &str, cloud_time: Timestamp) -> Result<(), ApiError> {
    let malformed = || {
        ApiError::new(
            400,
            "InvalidTimeStamp.Format",
            "Specified time stamp or date value is not well formatted.",
        )
    };
    // Exactly yyyy-MM-ddTHH:mm:ssZ: the parser alone would take offsets and fractions as well.
    let shape_is_right = text.len() == "yyyy-MM-ddTHH:mm:ssZ".len()
        && text.as_bytes()[10] == b'T'
        && text.ends_with('Z');
    let sent: Timestamp = text
        .parse()
        .ok()
        .filter(|_| shape_is_right)
        .ok_or_else(malformed)?;
    if cloud_time.duration_since(sent).abs() > TIMESTAMP_TOLERANCE {
        return Err(ApiError::new(
            400,
            "InvalidTimeStamp.Expired",
            "Specified time stamp or date value is expired.",
        ));
    }
    Ok(())
}

fn use_nonce(
    nonces: &mut BTreeMap<(String, String), Timestamp>,
    key_id: String,
    nonce: String,
    cloud_time: Timestamp,
) -> Result<(), ApiError> {
    // Twice the tolerance: a request's timestamp may lie that far apart at its first and last use.
    nonces.retain(|_, used| cloud_time.duration_since(*used) <= TIMESTAMP_TOLERANCE * 2);
    if nonces.insert((key_id, nonce), cloud_time).is_some() {
        return Err(ApiError::new(
            400,
            "SignatureNonceUsed",
            "Specified signature nonce was used already.",
        ));
    }
    Ok(())
}
