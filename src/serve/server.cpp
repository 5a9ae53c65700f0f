#include "redoubt/serve/server.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "redoubt/core/error.hpp"
#include "serve/protocol.hpp"

namespace redoubt {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;

class Session;

/// What the sessions share; outlives them.
struct Hub {
  explicit Hub(const ServerOptions& o) : options(o), protocol(o) {}

  const ServerOptions options;
  detail::Protocol protocol;
  std::atomic<std::uint64_t> requests{0}, failures{0};
  std::mutex mutex;
  std::set<Session*> sessions;
  bool stopping = false;
};

/// One connection. All its handlers run on its strand; it lives as long as one of them is pending.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::shared_ptr<Hub> hub) : stream_(std::move(socket)), hub_(std::move(hub)) {
    error_code ignored;
    const auto peer = stream_.socket().remote_endpoint(ignored);
    if (!ignored) peer_ = peer.address().to_string();
    buffer_.max_size(hub_->options.max_header + 65536);
  }
  ~Session() {
    const std::lock_guard lock(hub_->mutex);
    hub_->sessions.erase(this);
  }

  /// False if the server is full or stopping.
  bool enter() {
    const std::lock_guard lock(hub_->mutex);
    if (hub_->stopping || hub_->sessions.size() >= hub_->options.max_connections) return false;
    hub_->sessions.insert(this);
    return true;
  }
  void start() {
    asio::dispatch(stream_.get_executor(), [self = shared_from_this()] { self->read_header(); });
  }
  /// Ends an idle connection now and a busy one after its answer.
  void wind_down() {
    asio::post(stream_.get_executor(), [weak = weak_from_this()] {
      if (const auto self = weak.lock()) {
        self->last_ = true;
        if (self->idle_) self->stream_.cancel();
      }
    });
  }

 private:
  void read_header() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(hub_->options.max_header));
    parser_->body_limit(hub_->options.max_body);
    // The deadline is for the whole header however it trickles in, so that slow senders cannot hold a connection.
    stream_.expires_after(milliseconds(hub_->options.header_timeout_ms));
    idle_ = true;
    http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      self->idle_ = false;
      self->on_header(error);
    });
  }

  void on_header(error_code error) {
    if (error) return refuse(error);
    stream_.expires_after(milliseconds(hub_->options.body_timeout_ms));
    if (beast::iequals(parser_->get()[http::field::expect], "100-continue")) {
      auto go_on = std::make_shared<http::response<http::empty_body>>(http::status::continue_, 11);
      http::async_write(stream_, *go_on, [self = shared_from_this(), go_on](error_code failed, std::size_t) {
        if (!failed) self->read_body();
      });
      return;
    }
    read_body();
  }

  void read_body() {
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->refuse(error);
      self->answer();
    });
  }

  void answer() {
    const auto& request = parser_->get();
    detail::HttpQuestion question;
    const auto view = [](beast::string_view text) { return std::string_view(text.data(), text.size()); };
    question.method = view(request.method_string());
    question.target = view(request.target());
    question.body = request.body();
    question.binary = request.find("Inference-Header-Content-Length") != request.end();
    question.caller = peer_;
    if (const auto& header = hub_->options.caller_header; !header.empty())
      if (const auto found = request.find(header); found != request.end()) question.caller = view(found->value());
    if (const auto found = request.find(http::field::authorization); found != request.end())
      question.authorization = view(found->value());
    detail::HttpAnswer result;
    if (request.find(http::field::content_encoding) != request.end())
      result = detail::error_answer(501, "compressed bodies are not supported");
    else
      try {
        result = hub_->protocol.handle(question);
      } catch (const std::exception& failure) {
        result = detail::error_answer(500, failure.what());
      }
    send(std::move(result), request.keep_alive(), request.method() == http::verb::head);
  }

  /// What a broken, oversized or late request gets; then the connection is closed.
  void refuse(error_code error) {
    if (error == http::error::body_limit)
      return send(detail::error_answer(413, fmt::format("the body is larger than {} bytes", hub_->options.max_body)),
                  false, false);
    if (error == http::error::header_limit || error == http::error::buffer_overflow)
      return send(
          detail::error_answer(431, fmt::format("the header is larger than {} bytes", hub_->options.max_header)), false,
          false);
    if (error.category() == make_error_code(http::error::bad_method).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message)
      return send(detail::error_answer(400, "not a valid HTTP request: " + error.message()), false, false);
    close();  // gone, silent for too long, or stopping
  }

  void send(detail::HttpAnswer result, bool keep_alive, bool head) {
    hub_->requests.fetch_add(1, std::memory_order_relaxed);
    if (result.status >= 400) hub_->failures.fetch_add(1, std::memory_order_relaxed);
    const bool keep = keep_alive && !last_;
    response_ = {};
    response_.version(11);
    response_.result(static_cast<unsigned>(result.status));
    response_.set(http::field::content_type, "application/json");
    response_.keep_alive(keep);
    response_.body() = std::move(result.body);
    response_.prepare_payload();
    if (head) response_.body().clear();
    stream_.expires_after(milliseconds(hub_->options.body_timeout_ms));
    http::async_write(stream_, response_, [self = shared_from_this(), keep](error_code error, std::size_t) {
      if (error) return self->close();
      if (!keep || self->last_) return self->linger();
      self->read_header();
    });
  }

  /// Closing with unread input would reset the connection and may destroy the answer on its way: says goodbye, then
  /// drops what still comes, for a short time.
  void linger() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(milliseconds(std::min(hub_->options.body_timeout_ms, 1000)));
    drain();
  }

  void drain() {
    stream_.async_read_some(asio::buffer(waste_), [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->close();
      self->drain();
    });
  }

  void close() { stream_.close(); }

  beast::tcp_stream stream_;
  std::shared_ptr<Hub> hub_;
  std::string peer_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::array<char, 4096> waste_;
  bool idle_ = false, last_ = false;
};

}  // namespace

struct Server::Impl {
  explicit Impl(const ServerOptions& options)
      : hub(std::make_shared<Hub>(options)), io(options.threads), acceptor(asio::make_strand(io)) {}

  void accept() {
    acceptor.async_accept(asio::make_strand(io), [this](error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor.is_open()) return;
      if (!error) {
        error_code ignored;
        socket.set_option(tcp::no_delay(true), ignored);
        const auto session = std::make_shared<Session>(std::move(socket), hub);
        if (session->enter()) session->start();
        accept();
      } else {
        // Out of descriptors, for example: try again a little later instead of at once.
        pause.expires_after(milliseconds(50));
        pause.async_wait([this](error_code cancelled) {
          if (!cancelled) accept();
        });
      }
    });
  }

  void run() {
    for (;;) {
      try {
        io.run();
        return;
      } catch (const std::exception&) {  // out of memory in one connection: that one is closed, the others go on
      }
    }
  }

  std::shared_ptr<Hub> hub;
  asio::io_context io;
  tcp::acceptor acceptor;
  asio::steady_timer pause{acceptor.get_executor()};
  std::vector<std::thread> threads;
  std::mutex stop_mutex;
  std::uint16_t port = 0;
};

Server::Server(const ServerOptions& options) {
  if (options.threads < 1 || options.threads > 1024)
    detail::fail(errc::invalid_argument, fmt::format("ServerOptions: {} threads, must be 1 to 1024", options.threads));
  if (options.header_timeout_ms < 1 || options.body_timeout_ms < 1 || !options.max_body || !options.max_rows ||
      options.max_header < 256 || options.max_header > (1u << 30) || !options.max_connections)
    detail::fail(errc::invalid_argument,
                 "ServerOptions: timeouts and limits must be positive, max_header at least 256");
  error_code error;
  const auto address = asio::ip::make_address(options.address, error);
  if (error) detail::fail(errc::invalid_argument, fmt::format("\"{}\" is not an IP address", options.address));
  auto impl = std::make_unique<Impl>(options);
  const auto check = [&](const char* what) {
    if (error)
      detail::fail(errc::io_error,
                   fmt::format("cannot {} {}:{}: {}", what, options.address, options.port, error.message()));
  };
  const tcp::endpoint endpoint(address, options.port);
  impl->acceptor.open(endpoint.protocol(), error);
  check("open");
  impl->acceptor.set_option(asio::socket_base::reuse_address(true), error);
  check("configure");
  impl->acceptor.bind(endpoint, error);
  check("bind");
  impl->acceptor.listen(asio::socket_base::max_listen_connections, error);
  check("listen on");
  impl->port = impl->acceptor.local_endpoint().port();
  impl->accept();
  impl_ = impl.release();
  try {
    for (int i = 0; i < options.threads; ++i) impl_->threads.emplace_back([impl = impl_] { impl->run(); });
  } catch (...) {
    stop();
    delete impl_;
    throw;
  }
}

Server::~Server() {
  stop();
  delete impl_;
}

void Server::stop() {
  const std::lock_guard once(impl_->stop_mutex);
  asio::post(impl_->acceptor.get_executor(), [impl = impl_] {
    error_code ignored;
    impl->acceptor.close(ignored);
    impl->pause.cancel();
  });
  {
    const std::lock_guard lock(impl_->hub->mutex);
    impl_->hub->stopping = true;
    for (auto* session : impl_->hub->sessions) session->wind_down();
  }
  for (auto& thread : impl_->threads) thread.join();
  impl_->threads.clear();
}

std::uint16_t Server::port() const noexcept { return impl_->port; }

std::string Server::url() const {
  const auto& address = impl_->hub->options.address;
  const bool v6 = address.find(':') != std::string::npos;
  return fmt::format("http://{}{}{}:{}", v6 ? "[" : "", address, v6 ? "]" : "", impl_->port);
}

void Server::set_model(std::string_view name, const Model& model, std::string_view version) {
  impl_->hub->protocol.set_model(name, model, version);
}

void Server::remove_model(std::string_view name) { impl_->hub->protocol.remove_model(name); }

ServerStats Server::stats() const noexcept {
  return {impl_->hub->requests.load(), impl_->hub->failures.load(), impl_->hub->protocol.rows()};
}

}  // namespace redoubt
