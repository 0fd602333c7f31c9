"""The batched environments as Stable-Baselines3's VecEnv, and the actions that an agent sets."""
