//! A user on a machine with a user manager, a session bus and a screen, for screenshots of bubbles.
//!
//! Xvfb writes the screen to a file in the format of xwd.

use std::io::Write as _;
use std::process::Stdio;

use flate2::Compression;
use flate2::Crc;
use flate2::write::ZlibEncoder;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::Machine;
use crate::process::wait_for;

const NAME: &str = "anna";
/// A user id that exists only on the machine.
const ID: &str = "4711";
pub const HOME: &str = "/home/anna";
const SCREEN: &str = "/home/anna/screen/Xvfb_screen0";
/// The size of a bubble with a margin.
const SIZE: &str = "520x150x24";
const BUBBLES: &str = "[global]
font = DejaVu Sans 11
width = 500
height = 200
origin = top-right
offset = 10x10
icon_position = off
";

/// A user of a machine.
pub struct User<'a> {
    machine: &'a Machine,
}

impl<'a> User<'a> {
    /// Creates the user, whose services run without a login.
    pub async fn create(machine: &'a Machine) -> User<'a> {
        machine.stdout(&["useradd", "--create-home", "--uid", ID, "--shell", "/bin/sh", NAME]).await;
        machine.stdout(&["loginctl", "enable-linger", NAME]).await;
        machine.stdout(&["systemctl", "start", &format!("user@{ID}.service")]).await;
        User { machine }
    }

    /// Runs a command as the user, which must succeed. Returns its standard output.
    pub async fn stdout(&self, words: &[&str]) -> String {
        self.machine.stdout(&[&as_user(), words].concat()).await
    }

    /// Writes a file in the user's home directory.
    pub async fn write(&self, name: &str, text: &str) {
        self.machine.write(&format!("{HOME}/{name}"), text).await;
        self.machine.stdout(&["chown", "--recursive", NAME, HOME]).await;
    }

    /// Starts a screen, writes dunst's settings and sets DISPLAY for the user's services. The session bus
    /// starts dunst for the first bubble.
    pub async fn start_screen(&self) -> Screen<'a> {
        self.write(".config/dunst/dunstrc", BUBBLES).await;
        self.write("screen/note", "The screen is beside this file.\n").await;
        self.machine.stdout(&["mkdir", "-m", "1777", "/tmp/.X11-unix"]).await;
        let xvfb = ["Xvfb", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", SIZE, "-fbdir"];
        let words = [&as_user()[..], &xvfb, &["/home/anna/screen"]].concat();
        let mut server = self.machine.command(&words).stderr(Stdio::null()).spawn().expect("nsenter starts");
        // Xvfb prints its display number once it is ready.
        let mut lines = BufReader::new(server.stdout.take().expect("stdout is piped")).lines();
        let display = wait_for("a screen", lines.next_line()).await.expect("a pipe");
        let display = display.expect("Xvfb starts (xvfb; scripts/test installs it)");
        self.stdout(&["systemctl", "--user", "set-environment", &format!("DISPLAY=:{display}")]).await;
        Screen { machine: self.machine, _server: server }
    }
}

fn as_user() -> [&'static str; 10] {
    [
        "setpriv",
        "--reuid=4711",
        "--regid=4711",
        "--init-groups",
        "env",
        "-i",
        "HOME=/home/anna",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "XDG_RUNTIME_DIR=/run/user/4711",
        "LANG=C.UTF-8",
    ]
}

pub struct Screen<'a> {
    machine: &'a Machine,
    _server: Child,
}

impl Screen<'_> {
    /// Returns a screenshot once something is drawn and no longer changes.
    pub async fn picture(&self) -> Picture {
        let seen = async {
            let mut last = None;
            loop {
                let output = self.machine.run(&["cat", SCREEN]).await;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let picture = Picture::from_xwd(&output.stdout);
                if picture.drawn() > 0 && last.as_ref() == Some(&picture) {
                    return picture;
                }
                last = Some(picture);
            }
        };
        wait_for("a picture", seen).await
    }
}

#[derive(PartialEq, Eq)]
pub struct Picture {
    width: usize,
    /// Rows from top to bottom, three bytes per pixel.
    rgb: Vec<u8>,
}

impl Picture {
    /// Parses a true-colour picture with 32 bits per pixel (XWDFile.h: big-endian header words, colours,
    /// rows).
    fn from_xwd(bytes: &[u8]) -> Picture {
        let word = |index: usize| {
            let bytes = bytes[4 * index..][..4].try_into().expect("four bytes");
            usize::try_from(u32::from_be_bytes(bytes)).expect("a small number")
        };
        let (head, version, width, height) = (word(0), word(1), word(4), word(5));
        let (is_big_endian, bits, row, colours) = (word(7) == 1, word(11), word(12), word(19));
        assert_eq!((version, bits), (7, 32), "unsupported format");
        let pixels = &bytes[head + 12 * colours..];
        let rgb = |pixel: &[u8]| match is_big_endian {
            true => [pixel[1], pixel[2], pixel[3]],
            false => [pixel[2], pixel[1], pixel[0]],
        };
        let rows = (0..height).map(|y| &pixels[y * row..][..4 * width]);
        Picture { width, rgb: rows.flat_map(|row| row.chunks(4).flat_map(rgb)).collect() }
    }

    /// Counts the pixels that differ from the empty corner.
    pub fn drawn(&self) -> usize {
        self.rgb.chunks(3).filter(|pixel| *pixel != &self.rgb[..3]).count()
    }

    pub fn png(&self) -> Vec<u8> {
        let size = |length: usize| u32::try_from(length).expect("a small picture").to_be_bytes();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8], data: &[u8]| {
            let mut crc = Crc::new();
            crc.update(kind);
            crc.update(data);
            png.extend([&size(data.len())[..], kind, data, &crc.sum().to_be_bytes()].concat());
        };
        let height = self.rgb.len() / (3 * self.width);
        // Eight bits per channel, RGB, not interlaced.
        chunk(b"IHDR", &[&size(self.width)[..], &size(height), &[8, 2, 0, 0, 0]].concat());
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        for row in self.rgb.chunks(3 * self.width) {
            // The filter byte of each row: none.
            packed.write_all(&[0]).and_then(|()| packed.write_all(row)).expect("writing to memory");
        }
        chunk(b"IDAT", &packed.finish().expect("writing to memory"));
        chunk(b"IEND", &[]);
        png
    }
}
