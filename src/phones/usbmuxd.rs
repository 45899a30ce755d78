//! Client for usbmuxd, which lists phones and connects to their ports. A packet is a 16-byte little-endian
//! header (length including the header, version 1, message 8, tag) and a property list.
//!
//! Lists devices, reads pair records and connects; writes nothing. Each request has its own connection. A
//! packet larger than [`MAX_PACKET_BYTES`] is not read.

use std::iter;

use plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::phones::property_list;
use crate::tls::Stream;

use super::{
    AccessError, Address, Link, MAX_PACKET_BYTES, MAX_PHONES, ProtocolError, ReadError, Udid, dictionary,
};

const HEADER_BYTES: usize = 16;
const VERSION: u32 = 1;
/// The message type for a property list.
const MESSAGE: u32 = 8;
const TAG: u32 = 1;
/// The port of lockdownd on the phone.
const LOCKDOWN_PORT: u16 = 62_078;
/// `Number` of usbmuxd for success.
const OK: u64 = 0;
/// `Number` of usbmuxd for a missing device or pair record.
const NOT_FOUND: u64 = 2;
/// Limit for a UDID. Real ones have 40 hexadecimal digits, or 24 and a hyphen since 2018.
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

/// Lists the phones, each once and those on USB first.
pub(super) async fn devices(address: &Address) -> Result<Vec<Device>, ReadError> {
    let mut stream = address.connect().await?;
    let malformed = |ProtocolError(message)| ReadError::Malformed(message.to_owned());
    let response = exchange(&mut stream, request("ListDevices", [])).await.map_err(malformed)?;
    let entries = response.get("DeviceList").and_then(Value::as_array);
    let entries =
        entries.ok_or(ProtocolError("the response contains no list of devices")).map_err(malformed)?;
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

/// Connects to lockdownd on the phone.
pub(super) async fn connect(address: &Address, device: &Device) -> Result<Box<dyn Stream>, AccessError> {
    let mut stream = open(address).await?;
    let fields =
        [("DeviceID", device.id.into()), ("PortNumber", u64::from(LOCKDOWN_PORT.swap_bytes()).into())];
    let response = exchange(&mut stream, request("Connect", fields)).await?;
    match number(&response) {
        Some(OK) => Ok(stream),
        Some(NOT_FOUND) => Err(AccessError::Other("the phone was unplugged".to_owned())),
        Some(number) => Err(AccessError::Other(format!("usbmuxd cannot reach the phone (result {number})"))),
        None => Err(ProtocolError("usbmuxd sent no result").into()),
    }
}

/// Reads the pair record. It may be stored under another spelling of the UDID than usbmuxd lists.
pub(super) async fn pair_record(address: &Address, device: &Device) -> Result<Vec<u8>, AccessError> {
    let others = device.udid.spellings().into_iter().filter(|spelling| *spelling != device.spelling);
    for spelling in iter::once(device.spelling.clone()).chain(others) {
        match pair_record_named(address, &spelling).await {
            Err(AccessError::NotPaired) => {}
            result => return result,
        }
    }
    Err(AccessError::NotPaired)
}

async fn pair_record_named(address: &Address, name: &str) -> Result<Vec<u8>, AccessError> {
    let mut stream = open(address).await?;
    let fields = [("PairRecordID", name.into())];
    let mut response = exchange(&mut stream, request("ReadPairRecord", fields)).await?;
    match (response.remove("PairRecordData").and_then(Value::into_data), number(&response)) {
        (Some(record), _) => Ok(record),
        (None, Some(NOT_FOUND)) => Err(AccessError::NotPaired),
        (None, Some(number)) => {
            Err(AccessError::Other(format!("usbmuxd does not provide the pair record (result {number})")))
        }
        (None, None) => Err(ProtocolError("usbmuxd sent no pair record").into()),
    }
}

async fn open(address: &Address) -> Result<Box<dyn Stream>, AccessError> {
    address.connect().await.map_err(|_| AccessError::Other("usbmuxd no longer listens".to_owned()))
}

fn number(response: &Dictionary) -> Option<u64> {
    response.get("Number")?.as_unsigned_integer()
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

async fn exchange(stream: &mut Box<dyn Stream>, request: Dictionary) -> Result<Dictionary, ProtocolError> {
    let closed = |_| ProtocolError("usbmuxd closed the connection");
    let body = property_list::written(request);
    let length =
        u32::try_from(HEADER_BYTES + body.len()).map_err(|_| ProtocolError("the request is too large"))?;
    let header = [length, VERSION, MESSAGE, TAG];
    let mut packet: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
    packet.extend(body);
    stream.write_all(&packet).await.map_err(closed)?;
    stream.flush().await.map_err(closed)?;

    let length = stream.read_u32_le().await.map_err(closed)? as usize;
    let version = stream.read_u32_le().await.map_err(closed)?;
    let message = stream.read_u32_le().await.map_err(closed)?;
    let _tag = stream.read_u32_le().await.map_err(closed)?;
    if (version, message) != (VERSION, MESSAGE) {
        return Err(ProtocolError("usbmuxd's response violates its protocol"));
    }
    if !(HEADER_BYTES..=HEADER_BYTES + MAX_PACKET_BYTES).contains(&length) {
        return Err(ProtocolError("usbmuxd's response has an invalid length"));
    }
    let mut body = vec![0; length - HEADER_BYTES];
    stream.read_exact(&mut body).await.map_err(closed)?;
    dictionary(&body).ok_or(ProtocolError("usbmuxd's response is not a property list"))
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
    fn entries_without_a_valid_udid_or_connection_type_are_skipped() {
        let udid = ("SerialNumber", "00008101-000A1B2C3D4E001E");
        check(&[udid, ("ConnectionType", "USB")], Some(Link::Usb));
        check(&[udid, ("ConnectionType", "Network")], Some(Link::Network));
        check(&[udid], Some(Link::Usb));
        check(&[udid, ("ConnectionType", "Carrier pigeon")], None);
        check(&[("ConnectionType", "USB")], None);
        check(&[("SerialNumber", "../../etc/passwd")], None);
    }
}
