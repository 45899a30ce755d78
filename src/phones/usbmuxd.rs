//! Client for usbmuxd, which lists phones and connects to their ports. A packet is a 16-byte little-endian
//! header (length including the header, version 1, message 8, tag) and a property list.
//!
//! Lists devices, reads pair records and connects; writes nothing. Each request has its own connection. A
//! packet larger than [`MAX_PACKET_BYTES`] is not read.

use std::iter;

use plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::phones::property_list;

use super::{Address, Fault, Link, MAX_PACKET_BYTES, MAX_PHONES, ReadTrouble, Refusal, Udid, Wire, list};

const HEAD_BYTES: usize = 16;
const VERSION: u32 = 1;
/// The message type for a property list.
const MESSAGE: u32 = 8;
const TAG: u32 = 1;
/// The port of lockdownd on the phone.
const LOCKDOWN_PORT: u16 = 62_078;
/// usbmuxd's `Number`: done.
const DONE: u64 = 0;
/// usbmuxd's `Number` for a device, or a record, that is not there.
const NOT_THERE: u64 = 2;
/// Forty hexadecimal digits, or twenty-four and a hyphen since 2018.
const MAX_UDID_CHARS: usize = 64;

/// A phone in usbmuxd's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// usbmuxd's number for the device while it is attached.
    id: u64,
    /// The UDID as usbmuxd spells it.
    spelling: String,
    pub udid: Udid,
    pub link: Link,
}

/// USB first, each phone once.
pub(super) async fn devices(address: &Address) -> Result<Vec<Device>, ReadTrouble> {
    let mut wire = address.connect().await?;
    let garbled = |Fault(words)| ReadTrouble::Garbled(words.to_owned());
    let answer = ask(&mut wire, request("ListDevices", [])).await.map_err(garbled)?;
    let entries = answer.get("DeviceList").and_then(Value::as_array);
    let entries = entries.ok_or(Fault("the response contains no list of devices")).map_err(garbled)?;
    let mut devices: Vec<Device> = entries.iter().filter_map(device).collect();
    devices.sort_by_key(|device| device.link);
    let mut known = Vec::new();
    devices.retain(|device| {
        let is_new = !known.contains(&device.udid);
        known.push(device.udid.clone());
        is_new
    });
    devices.truncate(MAX_PHONES);
    Ok(devices)
}

/// Parses an entry. Returns `None` for anything but a phone that can be connected.
fn device(entry: &Value) -> Option<Device> {
    let entry = entry.as_dictionary()?;
    let properties = entry.get("Properties")?.as_dictionary()?;
    let udid = properties.get("SerialNumber")?.as_string()?;
    let is_udid = !udid.is_empty()
        && udid.len() <= MAX_UDID_CHARS
        && udid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // The first version of usbmuxd supported only USB and omitted the type.
    let link = match properties.get("ConnectionType").map_or(Some("USB"), Value::as_string)? {
        "USB" => Link::Usb,
        "Network" => Link::Network,
        _ => return None,
    };
    let id = entry.get("DeviceID").or_else(|| properties.get("DeviceID"))?.as_unsigned_integer()?;
    is_udid.then(|| Device { id, spelling: udid.to_owned(), udid: Udid::new(udid), link })
}

/// A connection to lockdownd on the phone.
pub(super) async fn connect(address: &Address, device: &Device) -> Result<Box<dyn Wire>, Refusal> {
    let mut wire = open(address).await?;
    let fields =
        [("DeviceID", device.id.into()), ("PortNumber", u64::from(LOCKDOWN_PORT.swap_bytes()).into())];
    let answer = ask(&mut wire, request("Connect", fields)).await.map_err(refusal)?;
    match number(&answer) {
        Some(DONE) => Ok(wire),
        Some(NOT_THERE) => Err(Refusal::Other("it was unplugged".to_owned())),
        Some(number) => Err(Refusal::Other(format!("usbmuxd cannot reach it (result {number})"))),
        None => Err(refusal(Fault("usbmuxd sent no result"))),
    }
}

/// The property list that was kept when this computer and the phone were paired. The file may be
/// named by another spelling of the number than the one that usbmuxd lists.
pub(super) async fn pair_record(address: &Address, device: &Device) -> Result<Vec<u8>, Refusal> {
    let others = device.udid.spellings().into_iter().filter(|spelling| *spelling != device.spelling);
    for spelling in iter::once(device.spelling.clone()).chain(others) {
        match pair_record_named(address, &spelling).await {
            Err(Refusal::NotPaired) => {}
            answer => return answer,
        }
    }
    Err(Refusal::NotPaired)
}

async fn pair_record_named(address: &Address, name: &str) -> Result<Vec<u8>, Refusal> {
    let mut wire = open(address).await?;
    let fields = [("PairRecordID", name.into())];
    let mut answer = ask(&mut wire, request("ReadPairRecord", fields)).await.map_err(refusal)?;
    match (answer.remove("PairRecordData").and_then(Value::into_data), number(&answer)) {
        (Some(record), _) => Ok(record),
        (None, Some(NOT_THERE)) => Err(Refusal::NotPaired),
        (None, Some(number)) => {
            Err(Refusal::Other(format!("usbmuxd does not provide its pair record (result {number})")))
        }
        (None, None) => Err(refusal(Fault("usbmuxd sent no pair record"))),
    }
}

async fn open(address: &Address) -> Result<Box<dyn Wire>, Refusal> {
    address.connect().await.map_err(|_| Refusal::Other("usbmuxd no longer listens".to_owned()))
}

fn refusal(Fault(words): Fault) -> Refusal {
    Refusal::Other(words.to_owned())
}

fn number(answer: &Dictionary) -> Option<u64> {
    answer.get("Number")?.as_unsigned_integer()
}

fn request<const N: usize>(kind: &str, fields: [(&str, Value); N]) -> Dictionary {
    let program = [
        ("MessageType", kind),
        ("ProgName", "statusd"),
        ("ClientVersionString", concat!("statusd ", env!("CARGO_PKG_VERSION"))),
    ];
    let program = program.map(|(key, text)| (key, Value::from(text)));
    program.into_iter().chain(fields).map(|(key, value)| (key.to_owned(), value)).collect()
}

async fn ask(wire: &mut Box<dyn Wire>, request: Dictionary) -> Result<Dictionary, Fault> {
    let hung_up = |_| Fault("usbmuxd closed the connection");
    let body = property_list::written(request);
    let length = u32::try_from(HEAD_BYTES + body.len()).map_err(|_| Fault("the request is too large"))?;
    let head = [length, VERSION, MESSAGE, TAG];
    let mut packet: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
    packet.extend(body);
    wire.write_all(&packet).await.map_err(hung_up)?;
    wire.flush().await.map_err(hung_up)?;

    let length = wire.read_u32_le().await.map_err(hung_up)? as usize;
    let version = wire.read_u32_le().await.map_err(hung_up)?;
    let message = wire.read_u32_le().await.map_err(hung_up)?;
    let _tag = wire.read_u32_le().await.map_err(hung_up)?;
    if (version, message) != (VERSION, MESSAGE) {
        return Err(Fault("usbmuxd's response violates its protocol"));
    }
    if !(HEAD_BYTES..=HEAD_BYTES + MAX_PACKET_BYTES).contains(&length) {
        return Err(Fault("usbmuxd's response has an invalid length"));
    }
    let mut body = vec![0; length - HEAD_BYTES];
    wire.read_exact(&mut body).await.map_err(hung_up)?;
    list(&body).ok_or(Fault("usbmuxd's response is not a property list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(properties: &[(&str, &str)], expected: Option<Link>) {
        let properties: Dictionary =
            properties.iter().map(|(key, text)| ((*key).to_owned(), Value::from(*text))).collect();
        let mut entry = Dictionary::new();
        entry.insert("DeviceID".to_owned(), 7.into());
        entry.insert("Properties".to_owned(), properties.into());
        assert_eq!(device(&entry.into()).map(|device| device.link), expected);
    }

    #[test]
    fn an_entry_is_a_phone_by_its_number_and_by_how_it_is_attached() {
        let udid = ("SerialNumber", "00008101-000A1B2C3D4E001E");
        check(&[udid, ("ConnectionType", "USB")], Some(Link::Usb));
        check(&[udid, ("ConnectionType", "Network")], Some(Link::Network));
        check(&[udid], Some(Link::Usb));
        check(&[udid, ("ConnectionType", "Carrier pigeon")], None);
        check(&[("ConnectionType", "USB")], None);
        check(&[("SerialNumber", "../../etc/passwd")], None);
    }
}
