//! The batch pod: idle, until it is told to burn CPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::error::Result;
use crate::serve::Pod;

/// Runs until the process ends.
pub(crate) fn run(pod: &Pod) -> Result<()> {
    println!("level=info msg=\"batch worker started\" queue=reports");
    let mut fire: Option<Fire> = None;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let control = pod.watch.get();
        let burning = fire.as_ref().map(|f| f.control.clone());
        let wanted = (control.burn_threads > 0).then_some(control);
        if burning != wanted {
            if let Some(old) = fire.take() {
                old.put_out();
                println!("level=info msg=\"job finished\" job=monthly-report");
            }
            fire = wanted.map(Fire::light);
        }
    }
}

/// Threads that burn.
struct Fire {
    control: Control,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Fire {
    fn light(control: Control) -> Self {
        println!(
            "level=info msg=\"job started\" job=monthly-report workers={}",
            control.burn_threads
        );
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let threads = (0..control.burn_threads)
            .map(|_| {
                let (stop, control) = (Arc::clone(&stop), control.clone());
                std::thread::spawn(move || burn_in_pulses(start, &control, &stop))
            })
            .collect();
        Self { control, stop, threads }
    }

    fn put_out(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A burning thread cannot panic; if it did, it burns no more.
            let _ = thread.join();
        }
    }
}

/// Burns and rests in step with the other threads. Rests let the neighbour work
/// off its backlog, which is when its own quota strikes as well.
fn burn_in_pulses(start: Instant, control: &Control, stop: &AtomicBool) {
    let on = control.burn_on_ms.max(1);
    let cycle = on + control.burn_off_ms;
    let mut sum = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let at = start.elapsed().as_millis() as u64 % cycle;
        if at >= on {
            std::thread::sleep(Duration::from_millis(cycle - at));
            continue;
        }
        for i in 0..20_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(i));
        }
    }
}
