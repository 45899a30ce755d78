//! Apple's side: shows the scene of the hour and tells the bench who looked when.

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::http::{self, Request};
use super::listener::Door;
use super::scenario::Scene;
use super::trial::Event;

/// A feed on loopback.
pub struct Feed {
    door: Door,
    scenes: Sender<(usize, Scene)>,
}

impl Feed {
    /// Shows `scene`, which is the first one.
    pub fn open(scene: Scene, events: Sender<Event>) -> Feed {
        let (scenes, next) = channel();
        let mut stage = Stage { number: 0, scene, next, polls: 0, events };
        Feed { door: Door::open(move |visitor| stage.receive(visitor)), scenes }
    }

    /// From the next request on.
    pub fn show(&self, number: usize, scene: Scene) {
        self.scenes.send((number, scene)).expect("the feed lives as long as its handle");
    }

    /// The address for one life of a subject, so that its looks are known from those of others.
    pub fn url(&self, life: u32) -> String {
        format!("http://{}/{life}/system_status_en_US.js", self.door.address)
    }
}

struct Stage {
    number: usize,
    scene: Scene,
    next: Receiver<(usize, Scene)>,
    polls: usize,
    events: Sender<Event>,
}

impl Stage {
    fn receive(&mut self, mut visitor: BufReader<TcpStream>) {
        let Ok(Some(request)) = Request::read(&mut visitor) else { return };
        let at = Instant::now();
        if let Some((number, scene)) = self.next.try_iter().last() {
            (self.number, self.scene) = (number, scene);
        }
        self.polls += 1;
        let life = request.path.split('/').nth(1).and_then(|life| life.parse().ok()).expect("a life");
        // The bench may be gone, or the subject dead: then nobody minds.
        let _unheard = self.events.send(Event::Polled { life, scene: self.number, at });
        let _unread = http::answer(visitor.get_mut(), 200, &self.scene.document(self.polls));
    }
}
