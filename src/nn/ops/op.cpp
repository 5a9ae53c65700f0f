#include "redoubt/nn/op.hpp"

#include <fmt/format.h>

#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {

std::size_t op_size(const OpShape& shape) noexcept {
  std::size_t size = 1;
  for (const auto extent : shape) size *= extent;
  return size;
}

Op::~Op() = default;

std::vector<OpParameter> Op::parameters(std::span<const OpShape>, std::span<const double>) const { return {}; }

void Op::initialise(std::span<const MatrixView<float>>, Random&) const {}

std::size_t Op::scratch(std::span<const OpShape>, std::span<const double>, bool) const { return 0; }

void Op::update_state(const OpForward&, std::span<const MatrixView<float>>) const {}

std::string Op::source(const OpSource&) const { return ""; }

std::span<const Op* const> ops() noexcept {
  std::size_t count = 0;
  const Op* const* table = detail::op_table(count);
  return {table, count};
}

const Op& find_op(std::string_view name) {
  std::string known;
  for (const Op* op : ops()) {
    if (op->name() == name) return *op;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", op->name());
  }
  detail::fail(errc::unsupported, fmt::format("no op is called \"{}\"; there are {}", name, known));
}

}  // namespace redoubt
