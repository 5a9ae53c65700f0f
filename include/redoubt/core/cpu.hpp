#pragma once
#include <cstdint>
#include <string>

namespace redoubt {

/// Instruction-set levels; each includes the ones before it.
enum class Isa : std::uint8_t {
  baseline,  ///< x86-64 or another architecture: the naive reference
  avx2,      ///< AVX2 + FMA + F16C
  avx512,    ///< AVX-512 F/BW/DQ/VL/VBMI
  amx        ///< AMX tile + bf16 + int8, usable (the kernel granted the permission)
};

const char* to_string(Isa isa) noexcept;  ///< "baseline", "avx2", "avx512", "amx"

/// What CPUID and XCR0 say; family and model are never read, as virtual machines mask them.
struct CpuFeatures {
  bool amd = false;  ///< the vendor: cores in groups, each with a last cache of its own
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false, avx512vbmi = false;
  bool avx512bf16 = false, avx512fp16 = false, avx512vnni = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;
};

/// Read once, then cached. Thread-safe.
const CpuFeatures& cpu_features() noexcept;

/// Highest level this CPU and operating system can run.
Isa detected_isa() noexcept;

/// Level that kernels use: `detected_isa()`, or lower if the environment variable REDOUBT_ISA names one
/// (baseline, avx2, avx512, amx) when the process first asks. Throws Error(invalid_argument) for an
/// unknown name and Error(unsupported) for a level that this machine lacks.
Isa active_isa();

/// One line: brand string, active level, usable CPUs. For lineage and benchmarks.
std::string cpu_description();

}  // namespace redoubt
