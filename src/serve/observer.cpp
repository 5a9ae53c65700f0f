#include "redoubt/serve/observer.hpp"

#include "redoubt/core/hash.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/monitor/query_monitor.hpp"

namespace redoubt {

void Observer::observe(std::string_view, const RowView&) noexcept {}

void MonitorObserver::observe(std::string_view caller, std::span<const float> raw) noexcept {
  monitor_->observe(hash64(caller), raw);
}

void MonitorObserver::observe(std::string_view caller, const RowView& row) noexcept {
  monitor_->observe(hash64(caller), row);
}

}  // namespace redoubt
