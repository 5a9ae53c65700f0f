#include "redoubt/nn/op.hpp"

#include <fmt/format.h>

#include <array>

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

std::size_t Op::affine_terms(std::span<const OpShape>, std::span<const double>) const { return 0; }

bool Op::assigns_gradients() const noexcept { return false; }
bool Op::hands_out_gradient() const noexcept { return false; }
bool Op::leads() const noexcept { return false; }
GradientPlace Op::gradient_place() const noexcept { return GradientPlace::apart; }
bool Op::masks_relu() const noexcept { return false; }

bool Op::monotone() const noexcept { return false; }

bool Op::lines(const OpLines&) const { return false; }

std::string Op::source(const OpSource&) const { return ""; }

std::size_t Op::used_rows(std::span<const float>, std::span<const double>, std::span<std::uint32_t>) const { return 0; }

namespace {

constexpr std::size_t most_added = 64;

struct Table {
  std::array<const Op*, 256> entries{};
  std::size_t own = 0, count = 0;
  Table() {
    const Op* const* first = detail::op_table(own);
    static_assert(sizeof(entries) / sizeof(entries[0]) > most_added + 64);
    for (count = 0; count < own; ++count) entries[count] = first[count];
  }
};

Table& table() noexcept {
  static Table all;
  return all;
}

}  // namespace

int register_op(const Op& op) {
  for (const Op* other : ops()) {
    if (other->name() == op.name()) {
      detail::fail(errc::already_exists, fmt::format("register_op: there is an op called \"{}\" already", op.name()));
    }
  }
  if (op.arity() > max_op_inputs || table().count - table().own >= most_added) {
    detail::fail(errc::invalid_argument,
                 fmt::format("register_op: \"{}\" takes {} inputs and is number {}; the limits are {} and {}",
                             op.name(), op.arity(), table().count - table().own + 1, max_op_inputs, most_added));
  }
  table().entries[table().count] = &op;
  return static_cast<int>(++table().count > 0);
}

std::span<const Op* const> ops() noexcept { return {table().entries.data(), table().count}; }

const Op& find_op(std::string_view name) {
  for (const Op* op : ops()) {
    if (op->name() == name) return *op;
  }
  std::string known;
  for (const Op* op : ops()) known += fmt::format("{}{}", known.empty() ? "" : ", ", op->name());
  detail::fail(errc::unsupported, fmt::format("no op is called \"{}\"; there are {}", name, known));
}

}  // namespace redoubt
