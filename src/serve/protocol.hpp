#pragma once
// The Open Inference Protocol V2 as a function from request to answer: what the transport and the tests share.
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "redoubt/model/model.hpp"
#include "redoubt/serve/server.hpp"

namespace redoubt::detail {

struct HttpAnswer {
  int status = 200;
  std::string body;
};

HttpAnswer error_answer(int status, std::string_view text);

struct HttpQuestion {
  std::string_view method, target, body, caller, authorization;
  bool binary = false;  ///< has the header of the binary tensor extension
};

class Protocol {
 public:
  explicit Protocol(const ServerOptions& options) : options_(options) {}

  void set_model(std::string_view name, const Model& model, std::string_view version);
  void remove_model(std::string_view name);
  /// Never throws but bad_alloc. Thread-safe.
  HttpAnswer handle(const HttpQuestion& question);
  std::uint64_t rows() const noexcept { return rows_.load(std::memory_order_relaxed); }

 private:
  /// One model as it is served; immutable, so that a request keeps what it began with.
  struct Served {
    Model model;
    std::string name, version, hash, metadata;
  };
  std::shared_ptr<const Served> find(std::string_view name, std::string_view version) const;
  HttpAnswer route(const HttpQuestion& question);

  const ServerOptions options_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Served>, std::less<>> models_;
  std::atomic<std::uint64_t> rows_{0};
};

}  // namespace redoubt::detail
