// Products in bf16 and int8 (weights laid out once, left sides narrowed before) as fractions of the measured peaks of
// their instructions.
// fp32 products beside OpenBLAS, Eigen and (where Debian's libdnnl-dev is there) oneDNN: a table per shape in GFLOP/s
// with the fraction of the measured FMA peak, and the figures of bench/peers/nn.sh. Random data. All contenders and the
// peak take turns in every round; the best round counts, so that a drifting clock hits all alike.
//   peer_nn_products [--quick] [--threads N] [--ours] [--narrow] [--form nn|nt|tn]
#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "bench/kernels/eigen_product.hpp"
#include "bench/support/fma_peak.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/kernels/matmul.hpp"
#include "redoubt/kernels/narrow.hpp"
#if defined(REDOUBT_PEER_ONEDNN)
#include <dnnl.h>
#endif
extern "C" void openblas_set_num_threads(int);

using namespace redoubt;

namespace {

enum class Form { nn, nt, tn };  // forward, input gradient, weight gradient (accumulated)

struct Shape {
  Form form;
  std::size_t m, k, n;
  bool head() const { return n <= 16 || m <= 16 || k <= 16; }
};

Tensor<float> random_matrix(std::size_t rows, std::size_t cols) {
  Tensor<float> values({rows, cols});
  Random random(7, rows * cols);
  for (float& value : values.flat()) value = static_cast<float>(random.uniform(-1, 1));
  return values;
}

double seconds_of(const std::function<void()>& run, int repeats) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) run();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return seconds.count() / repeats;
}

struct Contender {
  std::string name;
  std::function<void()> run;
  double best = 1e30;
};

std::vector<Shape> shapes() {
  std::vector<Shape> list;
  for (const Form form : {Form::nn, Form::nt, Form::tn})
    for (const std::size_t size : {64, 128, 256, 512, 1024, 2048}) list.push_back({form, size, size, size});
  for (const std::size_t batch : {1, 8, 32, 128, 512}) {
    for (const auto& [in, out] : {std::pair<std::size_t, std::size_t>{784, 512}, {512, 512}, {512, 10}}) {
      list.push_back({Form::nn, batch, in, out});
      if (batch < 32) continue;
      list.push_back({Form::nt, batch, out, in});
      list.push_back({Form::tn, in, batch, out});
    }
  }
  return list;
}

/// One precision below fp32 on one thread: the table and its figures.
void narrow_products(kernels::Precision precision, int rounds) {
  const char* const name = kernels::to_string(precision);
  const bool int8 = precision == kernels::Precision::int8;
  if (!kernels::has_kernels(precision)) return void(std::printf("%s: no instructions at this level\n", name));
  std::printf("%s  m x k x n | ours (G operations/s) | of peak\n", name);
  double worst = 1e30, worst_head = 1e30, log_sum = 0;
  int count = 0;
  for (const Shape& s : shapes()) {
    if (s.form != Form::nn) continue;
    const auto a = random_matrix(s.m, s.k), b = random_matrix(s.k, s.n);
    const kernels::NarrowWeights weights(b, {}, precision, kernels::QuantisedRange::covering(-1, 1));
    std::vector<std::byte, detail::AlignedAllocator<std::byte>> left(s.m * weights.depth() * weights.width());
    for (std::size_t i = 0; i < s.m; ++i)
      kernels::narrow(a.row(i).data(), s.k, weights, left.data() + i * weights.depth() * weights.width());
    Tensor<float> c({s.m, s.n});
    const kernels::NarrowPatches patches{
        .data = left.data(), .rows = s.m, .row = weights.depth(), .segment = weights.depth()};
    const double operations = 2.0 * double(s.m) * double(s.n) * double(s.k);
    const int repeats = std::max(1, int((int8 ? 8e7 : 4e7) / operations));
    double best = 1e30, peak = 0;
    for (int round = 0; round < rounds; ++round) {
      peak = std::max(peak, bench::dot_peak(int8, 1));
      best = std::min(best, seconds_of(
                                [&] {
                                  kernels::narrow_matmul(patches, weights, MatrixView<float>(c),
                                                         kernels::Activation::none, 0, s.n);
                                },
                                repeats));
    }
    const double fraction = operations / best * 1e-9 / peak;
    std::printf("%s %4zu x %4zu x %4zu | %7.1f | %.3f\n", name, s.m, s.k, s.n, operations / best * 1e-9, fraction);
    if (s.head() && s.m >= 32) worst_head = std::min(worst_head, fraction);
    if (s.head() || std::max({s.m, s.k, s.n}) > 1024 || std::max({s.m, s.k, s.n}) < 128) continue;
    worst = std::min(worst, fraction);
    log_sum += std::log(fraction);
    ++count;
  }
  std::printf("figure nn.matmul.%s.peak_fraction %.4g\n", name, std::exp(log_sum / count));
  std::printf("figure nn.matmul.%s.peak_fraction_worst %.4g\n", name, worst);
  std::printf("figure nn.matmul.%s.peak_fraction_heads_worst %.4g\n", name, worst_head);
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 30, threads = 1;
  bool ours_only = false, narrow_only = false;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--quick")
      rounds = 10;
    else if (flag == "--ours")
      ours_only = true;
    else if (flag == "--narrow")
      narrow_only = true;
    else if (flag == "--form" && i + 1 < argc)
      only = argv[++i];
    else if (flag == "--threads" && i + 1 < argc)
      threads = std::max(1, std::atoi(argv[++i]));
    else
      return std::fprintf(stderr, "usage: %s [--quick] [--threads N] [--ours] [--narrow] [--form nn|nt|tn]\n", argv[0]),
             2;
  }
  openblas_set_num_threads(threads);
  Arena arena(threads);
  std::printf("%s, %d thread%s\n", cpu_description().c_str(), threads, threads == 1 ? "" : "s");
  const auto narrow = [&] {
    for (const kernels::Precision precision : {kernels::Precision::bf16, kernels::Precision::int8})
      narrow_products(precision, rounds);
  };
  if (narrow_only) return narrow(), 0;
  std::printf("form  m x k x n | ours | of peak | OpenBLAS | Eigen | oneDNN (GFLOP/s)\n");
  double worst = 1e30, log_sum = 0, worst_head = 1e30, worst_ratio = 1e30;
  int count = 0;
  for (const Shape& s : shapes()) {
    const char* const form = s.form == Form::nn ? "nn" : s.form == Form::nt ? "nt" : "tn";
    if (!only.empty() && only != form) continue;
    const bool a_turned = s.form == Form::tn, b_turned = s.form == Form::nt;
    const auto a = a_turned ? random_matrix(s.k, s.m) : random_matrix(s.m, s.k);
    const auto b = b_turned ? random_matrix(s.n, s.k) : random_matrix(s.k, s.n);
    Tensor<float> c({s.m, s.n});
    const kernels::MatmulOptions options{.accumulate = a_turned, .arena = &arena};
    const float beta = a_turned ? 1 : 0;
    std::vector<Contender> all;
    all.push_back({"ours", [&] {
                     if (s.form == Form::nn) kernels::matmul(a, b, c, options);
                     if (s.form == Form::nt) kernels::matmul_nt(a, b, c, options);
                     if (s.form == Form::tn) kernels::matmul_tn(a, b, c, options);
                   }});
    if (!ours_only) {
      all.push_back({"OpenBLAS", [&] {
                       cblas_sgemm(CblasRowMajor, a_turned ? CblasTrans : CblasNoTrans,
                                   b_turned ? CblasTrans : CblasNoTrans, int(s.m), int(s.n), int(s.k), 1, a.data(),
                                   int(a.cols()), b.data(), int(b.cols()), beta, c.data(), int(s.n));
                     }});
      if (s.form == Form::nn && threads == 1) all.push_back({"Eigen", [&] { bench::eigen_product(a, b, c); }});
#if defined(REDOUBT_PEER_ONEDNN)
      all.push_back({"oneDNN", [&] {
                       dnnl_sgemm(a_turned ? 'T' : 'N', b_turned ? 'T' : 'N', dnnl_dim_t(s.m), dnnl_dim_t(s.n),
                                  dnnl_dim_t(s.k), 1, a.data(), dnnl_dim_t(a.cols()), b.data(), dnnl_dim_t(b.cols()),
                                  beta, c.data(), dnnl_dim_t(s.n));
                     }});
#endif
    }
    const double flops = 2.0 * double(s.m) * double(s.n) * double(s.k);
    const int repeats = std::max(1, int(2e7 * threads / flops));
    double peak = 0;
    for (int round = 0; round < rounds; ++round) {
      peak = std::max(peak, threads * bench::fma_peak(1));
      for (Contender& contender : all) contender.best = std::min(contender.best, seconds_of(contender.run, repeats));
    }
    const double fraction = flops / all[0].best * 1e-9 / peak;
    std::printf("%s %4zu x %4zu x %4zu | %6.1f | %.3f |", form, s.m, s.k, s.n, flops / all[0].best * 1e-9, fraction);
    double fastest = 1e30;
    for (const char* name : {"OpenBLAS", "Eigen", "oneDNN"}) {
      const auto found = std::find_if(all.begin(), all.end(), [&](const auto& entry) { return entry.name == name; });
      if (found == all.end()) {
        std::printf("      - |");
        continue;
      }
      fastest = std::min(fastest, found->best);
      std::printf(" %6.1f |", flops / found->best * 1e-9);
    }
    std::printf("\n");
    std::fflush(stdout);
    if (fastest < 1e30) worst_ratio = std::min(worst_ratio, fastest / all[0].best);
    if (s.head() && s.m >= 32) worst_head = std::min(worst_head, fraction);
    if (s.head() || std::max({s.m, s.k, s.n}) > 1024 || std::max({s.m, s.k, s.n}) < 128) continue;
    worst = std::min(worst, fraction);
    log_sum += std::log(fraction);
    ++count;
  }
  // All three forms of the 128- to 1024-sided and the layer-shaped products: their mean and the worst of them; heads of
  // 10 columns apart, of which a vector of 16 can use 62 %.
  const char* suffix = threads == 1 ? "" : ".2t";
  std::printf("figure nn.matmul.fp32%s.peak_fraction %.4g\n", suffix, std::exp(log_sum / count));
  std::printf("figure nn.matmul.fp32%s.peak_fraction_worst %.4g\n", suffix, worst);
  std::printf("figure nn.matmul.fp32%s.peak_fraction_heads_worst %.4g\n", suffix, worst_head);
  if (!ours_only) std::printf("figure nn.matmul.fp32%s.worst_vs_best_peer %.4g\n", suffix, worst_ratio);
  if (threads == 1 && only.empty()) narrow();
  return 0;
}
