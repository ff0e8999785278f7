"""`python -m worker doctor`: what would keep a worker from starting, or make it lose jobs, found before it is started."""
