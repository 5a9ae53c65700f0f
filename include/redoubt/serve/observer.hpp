#pragma once
#include <span>
#include <string_view>

#include "redoubt/fwd.hpp"

namespace redoubt {

class QueryMonitor;

/// Sees every row that a server predicts, after the prediction and before the answer is sent. Called from several
/// threads at once; must be quick and must not throw. It cannot change the answer: a monitor that rejects visibly
/// teaches the attacker.
class Observer {
 public:
  virtual ~Observer() = default;
  /// `raw`: one float per feature column of the model (see Encoder). For models without text columns.
  virtual void observe(std::string_view caller, std::span<const float> raw) noexcept = 0;
  /// The same for models with text columns, whose rows have no raw form. Ignored unless overridden.
  virtual void observe(std::string_view caller, const RowView& row) noexcept;
};

/// Hands every query to a QueryMonitor, which must outlive it. The caller's name is hashed.
class MonitorObserver final : public Observer {
 public:
  explicit MonitorObserver(QueryMonitor& monitor) noexcept : monitor_(&monitor) {}
  void observe(std::string_view caller, std::span<const float> raw) noexcept override;
  void observe(std::string_view caller, const RowView& row) noexcept override;

 private:
  QueryMonitor* monitor_;
};

}  // namespace redoubt
