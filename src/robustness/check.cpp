#include "redoubt/robustness/check.hpp"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "redoubt/data/dataset.hpp"

namespace redoubt {
namespace {

constexpr std::pair<Need, const char*> need_names[] = {{Need::labels, "labels"},
                                                       {Need::sources, "sources"},
                                                       {Need::times, "times"},
                                                       {Need::features, "features"},
                                                       {Need::probabilities, "probabilities"},
                                                       {Need::reference, "reference"},
                                                       {Need::leaf_ids, "leaf_ids"},
                                                       {Need::gradients, "gradients"},
                                                       {Need::callers, "callers"}};

}  // namespace

std::string to_string(Need needs) {
  std::string text;
  for (const auto& [need, name] : need_names)
    if (covers(needs, need)) text += (text.empty() ? "" : ", ") + std::string(name);
  return text.empty() ? "none" : text;
}

Need Batch::available() const noexcept {
  Need found = Need::none;
  const auto offer = [&](bool here, Need need) {
    if (here) found = found | need;
  };
  if (data) {
    offer(data->task() == Task::classification, Need::labels);
    offer(!data->sources().empty(), Need::sources);
    offer(!data->times().empty(), Need::times);
  }
  offer(features.rows() > 0, Need::features);
  offer(probabilities.rows() > 0, Need::probabilities);
  offer(reference.rows() > 0, Need::reference);
  offer(leaf_ids.rows() > 0, Need::leaf_ids);
  offer(gradients.rows() > 0, Need::gradients);
  offer(!callers.empty(), Need::callers);
  return found;
}

void Batch::validate() const {
  if (!data) detail::fail(errc::invalid_argument, "a batch needs a dataset; `data` is null");
  const std::size_t rows = data->rows();
  const auto expect = [&](std::size_t length, const char* name) {
    if (length != 0 && length != rows)
      detail::fail(errc::shape_mismatch, fmt::format("batch: `{}` has {} rows, the data has {}", name, length, rows));
  };
  expect(features.rows(), "features");
  expect(probabilities.rows(), "probabilities");
  expect(reference.rows(), "reference");
  expect(leaf_ids.rows(), "leaf_ids");
  expect(gradients.rows(), "gradients");
  expect(callers.size(), "callers");
}

Verdict AnyCheck::run(const Batch& batch) const {
  batch.validate();
  if (batch.data->rows() == 0) return Verdict::abstain(std::string(id_), stage_, "there are no rows to look at");
  const Need missing = needs_ & ~batch.available();
  if (missing != Need::none)
    return Verdict::abstain(std::string(id_), stage_,
                            fmt::format("needs {}, which is not available here", to_string(missing)));
  const auto start = std::chrono::steady_clock::now();
  Verdict verdict = held_->run(batch);
  verdict.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return verdict;
}

}  // namespace redoubt
