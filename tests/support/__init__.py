"""What tests share: drivers, rigs, fakes of time and disk, and the kernel's rules in Python."""
