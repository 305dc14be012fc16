//! Who is chosen of many: by load, quality and latency, and past those that rest or are waited for.

use super::*;

#[test]
fn whom_somebody_waits_for_is_passed_over_unless_it_is_the_only_one() {
    // A small set is looked through, a large one drawn from.
    for count in [2, 60] {
        let mut directory = Directory::default();
        for n in 0..count {
            add(&mut directory, &anyone(n), n);
        }
        let (targeting, avoid) = (Targeting::default(), Avoid::default());
        let mut random = random();
        let mut choose = |directory: &Directory<u8>| {
            let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
            *directory.get(key).unwrap()
        };
        let key = |directory: &Directory<u8>, n| directory.find(node(n)).unwrap().0;
        for n in 1..count {
            let busy = key(&directory, n);
            // Half of them are being tried for the first time, the others take longer than usual.
            if n % 2 == 0 {
                directory.works(busy);
                directory.doubt(busy);
            } else {
                assert!(directory.open_stream(busy, 1));
            }
        }
        let chosen = (0..200).filter(|_| choose(&directory) == 0).count();
        assert!(chosen > if count == 2 { 199 } else { 60 }, "{chosen} of {count}");
        let first = key(&directory, 0);
        directory.doubt(first);
        assert!((0..200).any(|_| choose(&directory) != 0), "all are doubted alike");
        directory.trust(first);
        let chosen = (0..200).filter(|_| choose(&directory) == 0).count();
        assert!(chosen > if count == 2 { 199 } else { 60 }, "{chosen} of {count}");
    }
}

#[test]
fn load_spreads_by_quality() {
    let mut directory = Directory::default();
    for n in 0..100 {
        let quality = if n < 50 { 100 } else { 20 };
        add(
            &mut directory,
            &Facts {
                quality,
                max_streams: 1000,
                ..anyone(n)
            },
            n,
        );
    }
    let (targeting, avoid) = (Targeting::default(), Avoid::default());
    let mut random = random();
    for stream in 0..2000 {
        let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
        assert!(directory.open_stream(key, stream));
        directory.works(key);
    }
    let load = |nodes: std::ops::Range<u8>| -> u32 {
        nodes
            .map(|n| directory.streams(directory.find(node(n)).unwrap().0).unwrap())
            .sum()
    };
    let (good, bad) = (load(0..50), load(50..100));
    assert!(
        good > 2 * bad && bad > 0,
        "{good} on the good half, {bad} on the bad one"
    );
    let most = (0..50).map(|n| load(n..n + 1)).max().unwrap();
    assert!(
        most <= 45,
        "a good node has {most} streams; even would be about {}",
        good / 50
    );
}

#[test]
fn idle_nodes_take_turns_by_quality() {
    let mut directory = Directory::default();
    for (n, quality) in [(0, 90), (1, 80), (2, 40)] {
        add(&mut directory, &Facts { quality, ..anyone(n) }, n);
    }
    let (targeting, mut avoid) = (Targeting::default(), Avoid::default());
    let mut random = random();
    let mut times = [0; 3];
    for _ in 0..600 {
        // As a key that rotates: another exit than the last one.
        let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
        let n = *directory.get(key).unwrap();
        times[usize::from(n)] += 1;
        avoid.nodes = vec![node(n)];
    }
    assert!(
        times[0] > times[2] && times[1] > times[2] && times[2] > 60,
        "{times:?}"
    );
}

#[test]
fn a_slow_node_is_rarely_chosen_of_many_and_takes_its_turn_among_few() {
    for (nodes, at_least, at_most) in [(100, 1, 30), (10, 60, 140)] {
        let mut directory = Directory::default();
        for n in 0..nodes {
            let (key, _) = add(&mut directory, &anyone(n), n);
            let latency = Some(Duration::from_millis(if n < nodes / 10 { 2000 } else { 100 }));
            directory.set_figures(
                key,
                Figures {
                    quality: 80,
                    latency,
                    speed_mbps: None,
                },
            );
        }
        let (targeting, avoid) = (Targeting::default(), Avoid::default());
        let mut random = random();
        let slow = (0..1000)
            .filter(|_| {
                let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
                *directory.get(key).unwrap() < nodes / 10
            })
            .count();
        assert!(
            (at_least..=at_most).contains(&slow),
            "{slow} of 1000 where one in ten of {nodes} is slow"
        );
    }
}

#[test]
fn one_fitting_node_in_a_thousand_is_found() {
    let mut directory = Directory::default();
    for n in 0..4000_u32 {
        let os = if n % 1000 == 17 { "ios" } else { "android" };
        let id = uuid::Uuid::from_u128(u128::from(n)).into();
        let exit = Exit {
            node: id,
            os: text(os),
            ..anyone(0).exit
        };
        add(&mut directory, &Facts { exit, ..anyone(0) }, n);
    }
    let targeting = Targeting::parse("os-ios").unwrap();
    let avoid = Avoid::default();
    let mut random = random();
    for _ in 0..50 {
        let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
        assert_eq!(directory.get(key).unwrap() % 1000, 17);
    }
}

#[test]
fn a_node_that_rests_is_tried_by_one_request_at_a_time() {
    let mut directory = Directory::default();
    let (key, _) = add(&mut directory, &anyone(1), 1);
    let start = Instant::now();
    let rest = Duration::from_secs(15);
    directory.rest(key, start + rest);
    directory.wake(start + rest - Duration::from_millis(1));
    assert_eq!(anyone_of(&directory), Err(NoChoice::NoExit));
    assert!(!directory.open_stream(key, 1));
    directory.wake(start + rest);
    assert_eq!(anyone_of(&directory), Ok(1));
    assert!(directory.open_stream(key, 1));
    assert_eq!(anyone_of(&directory), Err(NoChoice::NoExit), "its trial runs");
    directory.close_stream(key, 1);
    assert_eq!(anyone_of(&directory), Ok(1), "the trial said nothing");
    assert!(directory.open_stream(key, 1));
    directory.works(key);
    assert!(directory.open_stream(key, 1) && directory.open_stream(key, 1));
    directory.rest(key, start + 3 * rest);
    for _ in 0..3 {
        directory.close_stream(key, 1);
    }
    assert_eq!(
        anyone_of(&directory),
        Err(NoChoice::NoExit),
        "an end of others' streams wakes nobody"
    );
    directory.remove(key);
    directory.wake(start + 3 * rest);
    assert_eq!(directory.resting(), 0);
}

#[test]
fn rests_of_nodes_that_are_gone_are_not_kept_without_bound() {
    let mut directory = Directory::default();
    let start = Instant::now();
    for _ in 0..10_000 {
        let (key, _) = add(&mut directory, &anyone(1), 1);
        directory.rest(key, start);
    }
    let (key, _) = add(&mut directory, &anyone(1), 1);
    let (targeting, avoid) = (Targeting::default(), Avoid::default());
    for n in 0..10_000 {
        directory.rest(key, start + Duration::from_millis(n));
        assert!(directory.rouse(&wish(&targeting, &avoid)));
    }
    assert!(directory.resting() < 2000, "{}", directory.resting());
}
