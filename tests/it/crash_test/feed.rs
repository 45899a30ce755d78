//! The feed: serves the current scene and reports every poll to the run.

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::http::{self, Request};
use super::listener::Listener;
use super::scenario::Scene;
use super::trial::Event;

/// A feed on loopback.
pub struct Feed {
    listener: Listener,
    scenes: Sender<(usize, Scene)>,
}

impl Feed {
    /// Serves `scene`, which is the first one.
    pub fn open(scene: Scene, events: Sender<Event>) -> Feed {
        let (scenes, next) = channel();
        let mut server = Server { number: 0, scene, next, polls: 0, events };
        Feed { listener: Listener::open(move |client| server.receive(client)), scenes }
    }

    /// Serves this scene from the next request on.
    pub fn show(&self, number: usize, scene: Scene) {
        self.scenes.send((number, scene)).expect("the feed lives as long as its handle");
    }

    /// The URL for one incarnation of the daemon, which tells its polls from those of others.
    pub fn url(&self, incarnation: u32) -> String {
        format!("http://{}/{incarnation}/system_status_en_US.js", self.listener.address)
    }
}

struct Server {
    number: usize,
    scene: Scene,
    next: Receiver<(usize, Scene)>,
    polls: usize,
    events: Sender<Event>,
}

impl Server {
    fn receive(&mut self, mut client: BufReader<TcpStream>) {
        let Ok(Some(request)) = Request::read(&mut client) else { return };
        let at = Instant::now();
        if let Some((number, scene)) = self.next.try_iter().last() {
            (self.number, self.scene) = (number, scene);
        }
        self.polls += 1;
        let incarnation = request
            .path
            .split('/')
            .nth(1)
            .and_then(|incarnation| incarnation.parse().ok())
            .expect("an incarnation");
        // The run may have ended, or the daemon may have been killed.
        let _unheard = self.events.send(Event::Polled { incarnation, scene: self.number, at });
        let _unread = http::answer(client.get_mut(), 200, &self.scene.document(self.polls));
    }
}
