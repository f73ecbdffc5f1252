//! Asking for a device, in a process that has the driver of its machine or none.

use glimmer::cuda::{Cuda, probe};

#[test]
fn a_missing_device_is_a_value_that_says_why() {
    match probe() {
        Ok(device) => drop(Cuda::<f32>::new(&device).unwrap()),
        Err(absent) => assert!(absent.to_string().contains("driver"), "{absent}"),
    }
}
