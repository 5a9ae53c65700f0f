#include <fmt/format.h>

#include <csignal>
#include <fstream>
#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/lifecycle/registry.hpp"
#include "redoubt/lifecycle/workspace.hpp"
#include "redoubt/serve/server.hpp"

namespace redoubt::cli {

void add_serve(CLI::App& app, int&) {
  struct Arguments {
    std::string model, workspace, name = "model", address = "127.0.0.1", port_file;
    std::uint16_t port = 8080;
    int threads = 2;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand(
      "serve",
      "answer the Open Inference Protocol V2 (REST, JSON) until SIGINT or SIGTERM; loopback unless told otherwise");
  command
      ->add_option("MODEL", arguments->model, "model file, or with --workspace a reference such as reviews@production")
      ->required();
  command->add_option("--workspace", arguments->workspace, "folder of the workspace whose registry holds the model");
  command->add_option("--name", arguments->name, "name of the model in the URL")->capture_default_str();
  command->add_option("--address", arguments->address, "IP address to listen on; there is no authentication")
      ->capture_default_str();
  command->add_option("--port", arguments->port, "0: a free one")->capture_default_str();
  command->add_option("--port-file", arguments->port_file, "write the port here once the service listens");
  command->add_option("--threads", arguments->threads)->capture_default_str();
  command->add_flag("--json", arguments->json, "print where it listens as JSON");
  command->callback([arguments] {
    const Model model = arguments->workspace.empty()
                            ? Model::load(arguments->model)
                            : Workspace::open(arguments->workspace).registry().load(arguments->model);
    // Blocked before the server starts its threads, so that only sigwait below sees the signals.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    ServerOptions options;
    options.address = arguments->address;
    options.port = arguments->port;
    options.threads = arguments->threads;
    Server server(options);
    server.set_model(arguments->name, model);
    const std::string infer = fmt::format("{}/v2/models/{}/infer", server.url(), arguments->name);
    if (arguments->json)
      print({{"url", server.url()}, {"port", server.port()}, {"infer", infer}});
    else
      std::cout << "serving " << infer << '\n';
    std::cout << std::flush;
    if (!arguments->port_file.empty()) std::ofstream(arguments->port_file) << server.port() << '\n';
    int signal = 0;
    sigwait(&signals, &signal);
    server.stop();
    std::cerr << fmt::format("stopped after {} requests, {} rows\n", server.stats().requests, server.stats().rows);
  });
}

}  // namespace redoubt::cli
