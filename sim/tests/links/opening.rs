//! How connections begin, or do not: refused, hanging, a full backlog, links that are cut.

use std::io::{self, ErrorKind};

use forebay::shell::net::Net as _;
use forebay_sim::net::{SimNet, SimStream};
use forebay_sim::plan::Direction;
use tokio::time::timeout;

use crate::{PORT, World, at, free, ms, read_within, simulate};

/// Dials, and says when the answer came.
async fn dial(world: &World, net: &SimNet, port: u16) -> (io::Result<SimStream>, u64) {
    let begin = world.now();
    let answer = net.connect("node", port).await;
    (answer, world.now().since(begin).as_millis() as u64)
}

fn kind(answer: io::Result<SimStream>) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

#[test]
fn a_connect_takes_a_round_trip_and_is_told_from_where_it_comes() {
    simulate(1, async |world| {
        let mut link = free(20);
        link.up.delay = ms(70);
        let (_, net) = world.host(&link);
        let address = net.next_address();
        let (dialed, (_accepted, from)) =
            tokio::join!(net.connect_from(address, "node", PORT), world.accept());
        assert!(dialed.is_ok() && world.now() == at(90), "{:?}", world.now());
        assert_eq!(from, address);
        assert_ne!(net.next_address(), address, "each connection has its own");
    });
}

#[test]
fn a_port_nobody_listens_on_and_a_host_that_refuses_say_no_after_a_round_trip() {
    simulate(1, async |world| {
        let (_, net) = world.host(&free(20));
        let (answer, took) = dial(world, &net, PORT + 1).await;
        assert_eq!((kind(answer), took), (Some(ErrorKind::ConnectionRefused), 40));
        world.fabric.set_refuses(world.node, true);
        let (answer, took) = dial(world, &net, PORT).await;
        assert_eq!((kind(answer), took), (Some(ErrorKind::ConnectionRefused), 40));
        world.fabric.set_refuses(world.node, false);
        let (answer, took) = dial(world, &net, PORT).await;
        assert_eq!((kind(answer), took), (None, 40));
        world.until(1_000).await;
        let unknown = kind(net.connect("nobody", PORT).await);
        assert_eq!(unknown, Some(ErrorKind::NotFound));
    });
}

#[test]
fn refused_connections_leave_nothing() {
    simulate(1, async |world| {
        world.fabric.set_refuses(world.node, true);
        let (_, net) = world.host(&free(20));
        for _ in 0..10 {
            assert!(dial(world, &net, PORT).await.0.is_err());
        }
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_connect_that_hangs_is_answered_when_it_is_asked_again_after_the_fault() {
    simulate(1, async |world| {
        let (_, net) = world.host(&free(20));
        world.fabric.set_hangs(world.node, true);
        let heals = async {
            world.until(2_000).await;
            world.fabric.set_hangs(world.node, false);
        };
        // Asked at 0, 1 and 3 s.
        let ((answer, took), ()) = tokio::join!(dial(world, &net, PORT), heals);
        assert_eq!((kind(answer), took), (None, 3_040));
        let (_accepted, _) = world.accept().await;
    });
}

#[test]
fn a_connect_through_a_cut_hangs_until_the_link_is_whole() {
    for direction in [Direction::Both, Direction::Up, Direction::Down] {
        simulate(1, async |world| {
            let (host, net) = world.host(&free(20));
            world.fabric.set_cut(host, direction, true);
            let heals = async {
                world.until(500).await;
                world.fabric.set_cut(host, direction, false);
            };
            let ((answer, took), ()) = tokio::join!(dial(world, &net, PORT), heals);
            assert_eq!((kind(answer), took), (None, 1_040), "{direction:?}");
        });
    }
}

#[test]
fn whoever_gave_up_dialing_is_not_accepted_later_and_leaves_nothing() {
    simulate(1, async |world| {
        let (_, net) = world.host(&free(20));
        world.fabric.set_hangs(world.node, true);
        assert!(timeout(ms(5_000), net.connect("node", PORT)).await.is_err(), "it hangs");
        world.fabric.set_hangs(world.node, false);
        let accepted = timeout(ms(200_000), world.accept()).await;
        assert!(accepted.is_err(), "nobody dials any longer");
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn whoever_gives_up_while_nobody_ever_answers_leaves_nothing() {
    simulate(1, async |world| {
        let (_, net) = world.host(&free(20));
        world.fabric.set_hangs(world.node, true);
        assert!(timeout(ms(600_000), net.connect("node", PORT)).await.is_err(), "it hangs");
        world.until(700_000).await;
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_backlog_holds_1024_and_the_next_is_answered_when_there_is_room() {
    simulate(1, async |world| {
        let (_, net) = world.host(&free(20));
        let mut connected = Vec::new();
        for _ in 0..1_024 {
            let net = net.clone();
            connected.push(tokio::spawn(async move { net.connect("node", PORT).await }));
        }
        world.until(100).await;
        assert!(
            connected.iter().all(tokio::task::JoinHandle::is_finished),
            "there is room for all"
        );
        let (one_more, took) = {
            let makes_room = async {
                world.until(600).await;
                world.accept().await
            };
            let (dialed, _accepted) = tokio::join!(dial(world, &net, PORT), makes_room);
            dialed
        };
        assert_eq!((kind(one_more), took), (None, 1_040), "it is asked again after a second");
    });
}

#[test]
fn whoever_waits_to_be_accepted_when_the_listener_goes_is_told() {
    simulate(1, async |world| {
        let (_, node_net) = world.fabric.add_host("second", free(1));
        let address = "0.0.0.0:1935".parse().expect("it is an address");
        let listener = node_net.bind(address).await.expect("the port is free");
        assert!(node_net.bind(address).await.is_err(), "the port is taken");
        let (_, net) = world.host(&free(20));
        let mut waiting = net.connect("second", PORT).await.expect("it listens");
        drop(listener);
        let told = read_within(&mut waiting, ms(30)).await.expect("it is told");
        assert_eq!(told.map_err(|error| error.kind()), Ok(0));
        assert_eq!(kind(net.connect("second", PORT).await), Some(ErrorKind::ConnectionRefused));
        let _again = node_net.bind(address).await.expect("the port is free again");
    });
}
