#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "redoubt/fwd.hpp"

namespace redoubt {

class Gatekeeper;
class InputGuard;
class Observer;

struct ServerOptions {
  std::string address = "127.0.0.1";   ///< IP address to listen on; loopback unless told otherwise. There is no TLS
  std::uint16_t port = 0;              ///< 0: a free one, see Server::port
  int threads = 2;                     ///< own threads; predictions of small requests run on them
  std::size_t max_body = 8 << 20;      ///< bytes of a request body; more is answered 413
  std::size_t max_header = 16 << 10;   ///< bytes of a request's header; more is answered 431
  std::size_t max_rows = 65536;        ///< rows of one request; more is answered 400
  std::size_t max_connections = 1024;  ///< open at once; further ones are closed
  int header_timeout_ms =
      10000;  ///< for the whole header, counted from the last answer: also how long an idle connection is kept
  int body_timeout_ms = 10000;  ///< for the whole body, and for sending the answer
  std::string caller_header;    ///< header that names the caller, set by a proxy you trust; empty or absent: the peer's
                                ///< IP address
  Observer* observer = nullptr;      ///< sees every predicted row; must outlive the server
  Gatekeeper* gatekeeper = nullptr;  ///< may refuse a request before it is predicted; must outlive the server
  InputGuard* guard = nullptr;  ///< checks and mends every row before it is predicted and observed; must outlive the
                                ///< server. Made with the encoder of the model. If it rejects a row, the request is
                                ///< answered 422 and nothing of it is predicted
};

struct ServerStats {
  std::uint64_t requests = 0;  ///< answered
  std::uint64_t failures = 0;  ///< of them with status 400 and above
  std::uint64_t rows = 0;      ///< predicted
};

/// A prediction microservice inside the process: the REST form of the Open Inference Protocol V2 with JSON bodies.
///
///   GET  /v2                                          server metadata
///   GET  /v2/health/live, /v2/health/ready            ready = at least one model is set (503 before)
///   GET  /v2/models/{name}[/versions/{version}]       inputs and outputs of the model
///   GET  /v2/models/{name}[/versions/{version}]/ready
///   POST /v2/models/{name}[/versions/{version}]/infer
///
/// Inputs of infer: one tensor per feature column, shape [rows] or [rows, 1] (numeric: any number type or BOOL;
/// categorical: BYTES; text: BYTES; timestamp: INT64 microseconds; null = missing), or one tensor "rows" of FP32,
/// shape [rows, columns], that holds raw rows (see Encoder). Outputs: "probabilities" FP32 [rows, classes] and "label"
/// BYTES [rows], or "value" FP32 [rows]. Numbers are printed so that they read back bit-identical to what
/// Model::predict_proba (or Model::predict for raw rows) gives in process. `parameters` of the answer hold the lineage
/// id and the hash of the model that answered.
/// Errors: {"error": text} with 400, 401, 403, 404, 405, 413, 422, 429, 431, 500, 501, 503. The binary tensor extension
/// is not supported (501). A connection that is silent or slow for longer than its timeout is closed.
///
/// Listens from construction until `stop` or destruction. Every member may be called from any thread.
class Server {
 public:
  /// Error(io_error) if the address cannot be bound, Error(invalid_argument) for options outside their range.
  explicit Server(const ServerOptions& options = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const noexcept;
  std::string url() const;  ///< "http://127.0.0.1:8080"

  /// Serves `model` under this name from now on, in place of the one before. Requests that have begun are answered by
  /// the model they began with: none is lost and none mixes two models. `name` and `version`: as in Registry.
  void set_model(std::string_view name, const Model& model, std::string_view version = "1");
  void remove_model(std::string_view name);

  /// Takes no new connections, answers what has arrived, waits for its threads. Idempotent.
  void stop();
  ServerStats stats() const noexcept;

 private:
  struct Impl;
  Impl* impl_;  ///< owned
};

}  // namespace redoubt
