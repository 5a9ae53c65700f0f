#pragma once
#include <string>

namespace redoubt::detail {

/// CPUs that the control groups of a process grant, rounded up, at least 1; `unlimited_cpus` without a quota.
/// `membership` is the text of /proc/self/cgroup, `mount` the folder where the control groups are mounted. Reads
/// version 2 (cpu.max) and version 1 (cpu.cfs_*), the process's own group and every group above it: the tightest
/// counts. Whatever is absent or malformed counts as no quota.
int cgroup_cpus(const std::string& mount, const std::string& membership);

inline constexpr int unlimited_cpus = 1 << 16;

}  // namespace redoubt::detail
