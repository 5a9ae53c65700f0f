// Round trips over loopback, one keep-alive connection: what the service adds to a prediction.
#include "redoubt/serve/server.hpp"

#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/model/model.hpp"
#include "serve/infer.hpp"

namespace {

using namespace redoubt;

constexpr std::size_t columns = 30;

Dataset make_rows(std::size_t rows) {
  Random random(1);
  Tensor<float> x{rows, columns};
  std::vector<std::int32_t> labels(rows);
  for (auto& value : x.flat()) value = static_cast<float>(random.normal());
  for (std::size_t i = 0; i < rows; ++i) labels[i] = x(i, 0) + x(i, 1) > 0;
  return Dataset::from_matrix(x, std::span<const std::int32_t>(labels));
}

std::string make_body(std::size_t rows) {
  Random random(2);
  std::string data;
  for (std::size_t i = 0; i < rows * columns; ++i)
    data += fmt::format("{}{}", i ? "," : "", static_cast<float>(random.normal()));
  return fmt::format(R"({{"inputs":[{{"name":"rows","datatype":"FP32","shape":[{},{}],"data":[{}]}}]}})", rows, columns,
                     data);
}

/// One blocking keep-alive connection.
class Connection {
 public:
  explicit Connection(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect");
  }
  ~Connection() { ::close(fd_); }

  /// Sends one request and reads one answer; false unless it was 200.
  bool round_trip(const std::string& request) {
    if (::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return false;
    answer_.clear();
    std::size_t wanted = 0;
    char buffer[16384];
    while (wanted == 0 || answer_.size() < wanted) {
      const auto n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) return false;
      answer_.append(buffer, static_cast<std::size_t>(n));
      const auto end = answer_.find("\r\n\r\n");
      if (wanted || end == std::string::npos) continue;
      wanted = end + 4 + std::stoul(answer_.substr(answer_.find("Content-Length: ") + 16));
    }
    return answer_.compare(0, 12, "HTTP/1.1 200") == 0;
  }

 private:
  int fd_;
  std::string answer_;
};

void round_trip(benchmark::State& state) {
  const auto rows = static_cast<std::size_t>(state.range(0));
  Server server;
  server.set_model("m", LogisticRegression{}.fit(make_rows(500)));
  const auto body = make_body(rows);
  const auto request =
      fmt::format("POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
  Connection connection(server.port());
  for (auto _ : state)
    if (!connection.round_trip(request)) {
      state.SkipWithError("not answered");
      break;
    }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(round_trip)->Arg(1)->Arg(32)->Arg(512)->UseRealTime();

void health(benchmark::State& state) {
  Server server;
  Connection connection(server.port());
  const std::string request = "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n";
  for (auto _ : state)
    if (!connection.round_trip(request)) {
      state.SkipWithError("not answered");
      break;
    }
}
BENCHMARK(health)->UseRealTime();

/// Without the network: parsing, prediction and printing.
void parse_and_answer(benchmark::State& state) {
  const auto rows = static_cast<std::size_t>(state.range(0));
  const auto model = LogisticRegression{}.fit(make_rows(500));
  const auto body = make_body(rows);
  for (auto _ : state) {
    const auto request = detail::parse_infer(body, model.schema(), 65536);
    benchmark::DoNotOptimize(detail::answer_infer(request, model, "m", "1", "", "", nullptr));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(parse_and_answer)->Arg(1)->Arg(32)->Arg(512);

}  // namespace
