"""PPO on tensors that never leave the device."""
