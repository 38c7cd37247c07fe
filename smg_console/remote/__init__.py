"""The console on a gateway elsewhere: a mirror fed by its event stream, and a `Plane` over it."""
