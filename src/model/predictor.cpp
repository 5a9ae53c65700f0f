#include "redoubt/model/predictor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <vector>

#include "redoubt/core/parallel.hpp"

namespace redoubt {
namespace {

struct FormEntry {
  const char* name = nullptr;
  FormLoader loader = nullptr;
};

// Filled by initialisers of globals in other translation units, hence constant-initialised itself.
constinit std::mutex form_mutex;
constinit std::array<FormEntry, 32> form_table;
constinit std::size_t form_count = 0;

constexpr std::size_t floats_per_block = 1 << 16;

}  // namespace

Predictor::~Predictor() = default;

void Predictor::predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena* arena) const {
  if (src.cols() != inputs() || dst.cols() != outputs() || src.rows() != dst.rows())
    detail::fail(errc::shape_mismatch,
                 fmt::format("predict_batch of a {} with {} inputs and {} outputs was given {} x {} "
                             "inputs and room for {} x {} outputs",
                             form(), inputs(), outputs(), src.rows(), src.cols(), dst.rows(), dst.cols()));
  const std::size_t grain = std::clamp<std::size_t>(floats_per_block / std::max<std::size_t>(inputs(), 1), 1, 256);
  parallel_for(
      src.rows(), grain,
      [&](std::size_t begin, std::size_t end) {
        std::vector<float> scratch(scratch_size());
        for (std::size_t r = begin; r < end; ++r) predict(src.row(r), dst.row(r), scratch);
      },
      arena);
}

std::string Predictor::to_source(std::string_view) const { return {}; }

int register_form(const char* name, FormLoader loader) noexcept {
  const std::lock_guard lock(form_mutex);
  for (std::size_t i = 0; i < form_count; ++i) {
    if (std::strcmp(form_table[i].name, name) == 0) {
      form_table[i].loader = loader;
      return 1;
    }
  }
  if (form_count == form_table.size()) return 0;
  form_table[form_count++] = {name, loader};
  return 1;
}

FormLoader find_form(std::string_view name) {
  std::vector<std::string_view> known;
  {
    const std::lock_guard lock(form_mutex);
    for (std::size_t i = 0; i < form_count; ++i) {
      if (form_table[i].name == name) return form_table[i].loader;
      known.emplace_back(form_table[i].name);
    }
  }
  std::sort(known.begin(), known.end());
  detail::fail(errc::unsupported,
               fmt::format("the learned form \"{:.40}\" is not linked into this program; it has: {}", name,
                           known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
}

}  // namespace redoubt
