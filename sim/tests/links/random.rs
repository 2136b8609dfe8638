//! Whatever is written is read, once and in order, under any sequence of writes, pauses and faults
//! that end.

use forebay::shell::net::Stream as _;
use forebay_sim::Link;
use forebay_sim::link::{Capacity, Loss};
use forebay_sim::plan::Direction;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

use crate::{free, ms, nth, pattern, simulate};

#[derive(Clone, Debug)]
enum Step {
    /// The end writes so much: the peer's, or the node's.
    Write(bool, u32),
    Cut(u8, bool),
    Relink(u8),
    Egress(Option<u32>),
    Freeze(bool),
    Wait(u16),
    /// The peer reads no more than so much at once, and pauses so long between two reads.
    Read(u16, u16),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 1..300_000_u32).prop_map(|(peer, len)| Step::Write(peer, len)),
        4 => (1..1_500_u16).prop_map(Step::Wait),
        2 => (0..3_u8, any::<bool>()).prop_map(|(way, on)| Step::Cut(way, on)),
        2 => (0..7_u8).prop_map(Step::Relink),
        2 => proptest::option::of(1_000_u32..50_000_000).prop_map(Step::Egress),
        1 => any::<bool>().prop_map(Step::Freeze),
        1 => (1..20_000_u16, 0..300_u16).prop_map(|(len, pause)| Step::Read(len, pause)),
    ]
}

fn link(number: u8) -> Link {
    let mut link = free(5);
    match number {
        0 => link = Link::cellular(),
        1 => link = Link::dsl(),
        2 => link.down.capacity = Capacity::Constant(200_000),
        3 => (link.window, link.up.queue) = (3_000, 1_460),
        4 => {
            link.down.loss = Loss { share: 0.3, bad: ms(200), good: ms(300) };
            (link.up.loss, link.up.jitter) = (link.down.loss, ms(60));
        }
        5 => {
            link.down.capacity = Capacity::Constant(3_333_333);
            (link.down.queue, link.down.segment, link.down.burst) = (20_000, Some(100), ms(40));
        }
        _ => {}
    }
    link
}

/// Writes what it is told to, then closes its half.
fn write(mut half: WriteHalf<forebay_sim::net::SimStream>, mut orders: UnboundedReceiver<u32>) {
    tokio::spawn(async move {
        let mut total = 0;
        while let Some(len) = orders.recv().await {
            half.write_all(&pattern(total, len.into())).await.expect("nobody ends it");
            total += u64::from(len);
        }
        half.shutdown().await.expect("nobody ends it");
        // Dropped with the other half.
        std::future::pending::<()>().await
    });
}

fn check(seed: u64, steps: &[Step]) {
    simulate(seed, async |world| {
        let connection = world.connect(&link(seed as u8 % 7)).await;
        connection.node.set_unsent_len_max(64 << 10).expect("it always can");
        let (mut peer_reads, peer_writes) = tokio::io::split(connection.peer);
        let (node_reads, node_writes) = tokio::io::split(connection.node);
        let (peer_orders, obeys) = unbounded_channel();
        write(peer_writes, obeys);
        let (node_orders, obeys) = unbounded_channel();
        write(node_writes, obeys);
        let at_node = world.read_all(node_reads);
        let (pace, paced) = tokio::sync::watch::channel((u16::MAX, 0));
        let at_peer = tokio::spawn(async move {
            let mut total = 0;
            loop {
                let (len, pause) = *paced.borrow();
                let mut buffer = vec![0; len.into()];
                match peer_reads.read(&mut buffer).await.expect("nobody ends it") {
                    0 => return total,
                    len => {
                        let is_next = (total..).zip(&buffer[..len]).all(|(i, b)| *b == nth(i));
                        assert!(is_next, "what follows byte {total} was not written there");
                        total += len as u64;
                    }
                }
                if pause > 0 {
                    sleep(ms(pause.into())).await;
                }
            }
        });
        let mut written = [0_u64; 2];
        for step in steps {
            match *step {
                Step::Write(by_peer, len) => {
                    written[usize::from(by_peer)] += u64::from(len);
                    let orders = if by_peer { &peer_orders } else { &node_orders };
                    orders.send(len).expect("the writer is there");
                }
                Step::Cut(way, is_cut) => {
                    let way = [Direction::Both, Direction::Up, Direction::Down][usize::from(way)];
                    world.fabric.set_cut(connection.host, way, is_cut);
                }
                Step::Relink(number) => world.fabric.set_link(connection.host, &link(number)),
                Step::Egress(rate) => world.fabric.set_egress(world.node, rate.map(u64::from)),
                Step::Freeze(is_frozen) => world.fabric.set_frozen(world.node, is_frozen),
                Step::Wait(time) => sleep(ms(time.into())).await,
                Step::Read(len, pause) => {
                    let _previous = pace.send_replace((len, pause));
                }
            }
        }
        // All faults end.
        world.fabric.set_cut(connection.host, Direction::Both, false);
        world.fabric.set_egress(world.node, None);
        world.fabric.set_frozen(world.node, false);
        world.fabric.set_link(connection.host, &free(5));
        let _previous = pace.send_replace((u16::MAX, 0));
        drop((peer_orders, node_orders));
        sleep(ms(120_000)).await;
        assert!(at_peer.is_finished(), "{} bytes were written to the peer", written[0]);
        assert_eq!(at_peer.await.expect("it does not panic"), written[0], "to the peer");
        assert_eq!(at_node.total(), written[1], "to the node");
        assert_eq!(at_node.end().map(|end| end.1), Some(Ok(())));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(
        seed in any::<u64>(),
        steps in proptest::collection::vec(any_step(), 1..40),
    ) {
        check(seed, &steps);
    }
}
