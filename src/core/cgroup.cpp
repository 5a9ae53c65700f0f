#include "core/cgroup.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

namespace redoubt::detail {
namespace {

int cpus_of(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return unlimited_cpus;
  return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, double(unlimited_cpus)));
}

/// Version 2: "max 100000" or "150000 100000".
int read_v2(const std::string& group) {
  std::ifstream file(group + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period ? cpus_of(quota, period) : unlimited_cpus;
}

/// Version 1 keeps the two numbers in two files; the quota is -1 without a limit.
int read_v1(const std::string& group) {
  std::ifstream quota_file(group + "/cpu.cfs_quota_us"), period_file(group + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period ? cpus_of(quota, period) : unlimited_cpus;
}

/// Smallest of `read` over `root` + `path` and every group above it. In a container `path` may name a group that is
/// not visible; the mounted root is the container's own group then, and is always read.
template <class Read>
int tightest(const std::string& root, std::string path, Read read) {
  int cpus = unlimited_cpus;
  while (!path.empty() && path != "/") {
    cpus = std::min(cpus, read(root + path));
    path.erase(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  return std::min(cpus, read(root));
}

bool lists_cpu(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');)
    if (name == "cpu") return true;
  return false;
}

}  // namespace

int cgroup_cpus(const std::string& mount, const std::string& membership) {
  int cpus = std::min(read_v2(mount), read_v1(mount + "/cpu"));
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {  // "hierarchy:controllers:path"
    const std::size_t first = line.find(':'), second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty())
      cpus = std::min(cpus, tightest(mount, path, read_v2));
    else if (lists_cpu(controllers))
      cpus = std::min(cpus, tightest(mount + "/cpu", path, read_v1));
  }
  return cpus;
}

}  // namespace redoubt::detail
