#include <fmt/format.h>

#include <iostream>

#include "cli/common.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/version.hpp"

namespace {

int exit_code_of(redoubt::errc code) {
  switch (code) {
    case redoubt::errc::refused: return redoubt::cli::said_no;
    case redoubt::errc::io_error:
    case redoubt::errc::unavailable:
    case redoubt::errc::internal: return redoubt::cli::system_error;
    default: return redoubt::cli::bad_input;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "redoubt: train, serve and defend machine-learning models.\n\n"
      "A first walk:\n"
      "  redoubt screen reviews.csv --target genuine --source account --out clean.csv\n"
      "  redoubt train clean.csv --target genuine --source account --out reviews.redoubt\n"
      "  redoubt evaluate reviews.redoubt holdout.csv --target genuine\n"
      "  redoubt serve reviews.redoubt --port 8080",
      "redoubt");
  app.set_version_flag("--version", std::string("redoubt ") + redoubt::version());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done; 1 a check, gate or self-test says no; 2 wrong command line; 3 a file or setting cannot be "
      "used as "
      "asked;\n"
      "4 the system refused. `redoubt COMMAND --help` teaches a command.");
  int exit_code = redoubt::cli::done;
  redoubt::cli::add_train(app, exit_code);
  redoubt::cli::add_evaluate(app, exit_code);
  redoubt::cli::add_predict(app, exit_code);
  redoubt::cli::add_screen(app, exit_code);
  redoubt::cli::add_import(app, exit_code);
  redoubt::cli::add_inspect(app, exit_code);
  redoubt::cli::add_report(app, exit_code);
  redoubt::cli::add_lineage(app, exit_code);
  redoubt::cli::add_serve(app, exit_code);
  try {
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? redoubt::cli::done : redoubt::cli::usage;
  } catch (const redoubt::Error& error) {
    std::cerr << "redoubt: " << error.what() << '\n';
    return exit_code_of(error.code());
  } catch (const std::exception& error) {
    std::cerr << "redoubt: " << error.what() << '\n';
    return redoubt::cli::system_error;
  }
}
