//! PTX decoded once into the form that executes.
