#include "serve/protocol.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/serve/admission.hpp"
#include "serve/infer.hpp"

namespace redoubt::detail {
namespace {

int status_of(errc code) noexcept {
  switch (code) {
    case errc::invalid_argument:
    case errc::shape_mismatch:
    case errc::type_mismatch:
    case errc::parse_error: return 400;
    case errc::not_found: return 404;
    case errc::unsupported: return 501;
    case errc::unavailable: return 503;
    case errc::refused: return 422;
    default: return 500;
  }
}

int status_of(Admission admission) noexcept {
  return admission == Admission::unauthenticated ? 401 : admission == Admission::forbidden ? 403 : 429;
}

/// Path segments with %XX decoded, query cut off; a broken escape stays as it is.
std::vector<std::string> segments_of(std::string_view target) {
  target = target.substr(0, target.find_first_of("?#"));
  std::vector<std::string> segments;
  std::string current;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
  };
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (target[i] == '/') {
      if (!current.empty()) segments.push_back(std::move(current));
      current.clear();
    } else if (target[i] == '%' && i + 2 < target.size() && digit(target[i + 1]) >= 0 && digit(target[i + 2]) >= 0) {
      current += static_cast<char>(digit(target[i + 1]) * 16 + digit(target[i + 2]));
      i += 2;
    } else {
      current += target[i];
    }
  }
  if (!current.empty()) segments.push_back(std::move(current));
  return segments;
}

std::string metadata_of(const Model& model, std::string_view name, std::string_view version) {
  std::string inputs, outputs;
  for (const auto& column : model.schema().columns())
    inputs += fmt::format("{}{{\"name\":{},\"datatype\":\"{}\",\"shape\":[-1]}}", inputs.empty() ? "" : ",",
                          json_text(column.name), datatype_of(column));
  if (model.task() == Task::classification)
    outputs = fmt::format(
        "{{\"name\":\"probabilities\",\"datatype\":\"FP32\",\"shape\":[-1,{}]}},"
        "{{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[-1]}}",
        model.outputs());
  else
    outputs = "{\"name\":\"value\",\"datatype\":\"FP32\",\"shape\":[-1]}";
  return fmt::format("{{\"name\":{},\"versions\":[{}],\"platform\":\"redoubt_{}\",\"inputs\":[{}],\"outputs\":[{}]}}",
                     json_text(name), json_text(version), model.info().algorithm, inputs, outputs);
}

void check_word(const char* what, std::string_view word) {
  const bool fine = !word.empty() && word.size() <= 128 && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-' || c == '.';
  });
  if (!fine)
    fail(errc::invalid_argument,
         fmt::format("{} \"{}\" must be 1 to 128 letters, digits, '_', '-' or '.'", what, word));
}

}  // namespace

HttpAnswer error_answer(int status, std::string_view text) {
  return {status, fmt::format("{{\"error\":{}}}", json_text(text))};
}

void Protocol::set_model(std::string_view name, const Model& model, std::string_view version) {
  check_word("model name", name);
  check_word("model version", version);
  auto served = std::make_shared<Served>();
  served->model = model;
  served->name = name;
  served->version = version;
  served->hash = model.hash();
  served->metadata = metadata_of(model, name, version);
  const std::lock_guard lock(mutex_);
  models_.insert_or_assign(std::string(name), std::move(served));
}

void Protocol::remove_model(std::string_view name) {
  const std::lock_guard lock(mutex_);
  if (const auto found = models_.find(name); found != models_.end()) models_.erase(found);
}

std::shared_ptr<const Protocol::Served> Protocol::find(std::string_view name, std::string_view version) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) fail(errc::not_found, fmt::format("no model \"{}\" is served here", name));
  if (!version.empty() && version != found->second->version)
    fail(errc::not_found,
         fmt::format("model \"{}\" is served in version \"{}\", not \"{}\"", name, found->second->version, version));
  return found->second;
}

HttpAnswer Protocol::handle(const HttpQuestion& question) {
  try {
    return route(question);
  } catch (const Error& error) {
    return error_answer(status_of(error.code()), error.what());
  }
}

HttpAnswer Protocol::route(const HttpQuestion& question) {
  const auto path = segments_of(question.target);
  const auto is = [&](std::size_t i, std::string_view word) { return i < path.size() && path[i] == word; };
  const auto only = [&](std::string_view method) -> bool {
    return question.method == method || (method == "GET" && question.method == "HEAD");
  };
  const auto wrong_method = [&](std::string_view method) {
    return error_answer(405, fmt::format("{} is answered to {} only", question.target, method));
  };
  if (!is(0, "v2")) return error_answer(404, fmt::format("no such path: {}", question.target));
  if (path.size() == 1) {
    if (!only("GET")) return wrong_method("GET");
    return {200, fmt::format("{{\"name\":\"redoubt\",\"version\":\"{}\",\"extensions\":[]}}", version())};
  }
  if (is(1, "health") && path.size() == 3 && (path[2] == "live" || path[2] == "ready")) {
    if (!only("GET")) return wrong_method("GET");
    const bool live = path[2] == "live";
    bool yes = true;
    if (!live) {
      const std::lock_guard lock(mutex_);
      yes = !models_.empty();
    }
    return {yes ? 200 : 503, fmt::format("{{\"{}\":{}}}", path[2], yes)};
  }
  if (is(1, "models") && path.size() >= 3) {
    std::size_t next = 3;
    std::string wanted;
    if (is(3, "versions") && path.size() >= 5) {
      wanted = path[4];
      next = 5;
    }
    const bool metadata = path.size() == next, ready = path.size() == next + 1 && path[next] == "ready",
               infer = path.size() == next + 1 && path[next] == "infer";
    if (infer) {
      if (!only("POST")) return wrong_method("POST");
      if (question.binary) return error_answer(501, "the binary tensor extension is not supported; send JSON only");
      const auto served = find(path[2], wanted);
      auto request = parse_infer(question.body, served->model.schema(), options_.max_rows);
      if (options_.gatekeeper) {
        const Admission admission =
            options_.gatekeeper->admit({question.caller, question.authorization, served->name, request.count()});
        if (admission != Admission::allowed) return error_answer(status_of(admission), to_string(admission));
      }
      if (options_.guard) guard_rows(request, served->model, *options_.guard);
      HttpAnswer answer{200, answer_infer(request, served->model, served->name, served->version, served->hash,
                                          question.caller, options_.observer)};
      rows_.fetch_add(request.count(), std::memory_order_relaxed);
      return answer;
    }
    if (metadata || ready) {
      if (!only("GET")) return wrong_method("GET");
      const auto served = find(path[2], wanted);
      if (metadata) return {200, served->metadata};
      return {200, fmt::format("{{\"name\":{},\"ready\":true}}", json_text(served->name))};
    }
  }
  return error_answer(404, fmt::format("no such path: {}", question.target));
}

}  // namespace redoubt::detail
