"""Read results, never step an environment: gains, returns on latency, relocation, losses by lever."""
