//! Results, those of others and ours (CNI specification, "Success").

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use tapwire::{IfName, Mac};

use crate::call::Call;
use crate::failure::{Code, Failure};

/// The addresses that a result says the call's interface has.
pub(crate) fn addresses(result: &Value, call: &Call) -> Result<Vec<IpNet>, Failure> {
    let interfaces = list(result, "interfaces");
    let is_pods = |index: u64| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        interfaces.get(index).is_some_and(|it| is_pods(it, call))
    };
    let mut addresses = Vec::new();
    for ip in list(result, "ips") {
        if ip
            .get("interface")
            .and_then(Value::as_u64)
            .is_none_or(is_pods)
        {
            let text = ip
                .get("address")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let address = text.parse();
            let invalid = |error| Failure::new(Code::Decode, format!("prevResult: {text}"), &error);
            addresses.push(address.map_err(invalid)?);
        }
    }
    Ok(addresses)
}

/// The first address of each family.
pub(crate) fn firsts(addresses: &[IpNet]) -> Vec<IpAddr> {
    let of = |ipv4: bool| {
        let mut all = addresses.iter().map(IpNet::addr);
        all.find(|address| address.is_ipv4() == ipv4)
    };
    [of(true), of(false)].into_iter().flatten().collect()
}

/// Adds a guest's TAP, and the guest's own interface: its sandbox is the
/// VM, for which the container's name stands.
pub(crate) fn add_tap(result: &mut Value, call: &Call, tap: IfName, own: Mac, guest: Mac) {
    let interfaces = result.as_object_mut().map(|result| {
        let interfaces = result.entry("interfaces");
        interfaces.or_insert_with(|| json!([]))
    });
    let interfaces = interfaces.and_then(Value::as_array_mut);
    let is_ours = |one: &Value| one.get("name").and_then(Value::as_str) == Some(tap.as_str());
    if let Some(interfaces) = interfaces
        && !interfaces.iter().any(is_ours)
    {
        for (mac, sandbox) in [(own, &call.path), (guest, &call.container)] {
            interfaces.push(json!({
                "name": tap.as_str(),
                "mac": mac.to_string(),
                "sandbox": sandbox,
            }));
        }
    }
}

/// Puts something into an object.
pub(crate) fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Whether a result lists this TAP.
pub(crate) fn has_tap(result: &Value, call: &Call, tap: IfName) -> bool {
    list(result, "interfaces").iter().any(|one| {
        one.get("name").and_then(Value::as_str) == Some(tap.as_str())
            && one.get("sandbox").and_then(Value::as_str) == Some(&call.path)
    })
}

/// Whether a result is of an ADD without others before: nobody made the
/// interface that the call names.
pub(crate) fn is_alone(result: &Value, call: &Call) -> bool {
    !list(result, "interfaces")
        .iter()
        .any(|it| is_pods(it, call))
}

fn is_pods(interface: &Value, call: &Call) -> bool {
    let is = |key, value: &str| interface.get(key).and_then(Value::as_str) == Some(value);
    is("name", call.interface.as_str()) && is("sandbox", &call.path)
}

fn list<'r>(result: &'r Value, key: &str) -> &'r [Value] {
    result
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
