// Command toolhive-reporter drives the status reporter of ToolHive's own vMCP, so that
// tests and benchmarks can run it beside ours. It reads one command per line:
//
//	{"status": {"phase": "Ready", "conditions": [...], "discoveredBackends": [...]}}
//
// and answers each with one line, after the report has returned:
//
//	{"ok": true, "error": "", "millis": 3.9}
//
// The status is ToolHive's vmcp.Status. A command that cannot be read is
// answered with an error and stops nothing. The program ends with its input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/stacklok/toolhive/pkg/vmcp"
	"github.com/stacklok/toolhive/pkg/vmcp/status"
)

type options struct {
	kubeconfig, server, tokenFile, caFile string
	name, namespace                       string
	insecure                              bool
	qps                                   float64
}

type command struct {
	Status *vmcp.Status `json:"status"`
}

type answer struct {
	OK     bool    `json:"ok"`
	Error  string  `json:"error"`
	Millis float64 `json:"millis"`
}

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` to start from")
	flag.StringVar(&o.server, "server", "", "`URL` of the API server or of a proxy before it; overrides the kubeconfig's")
	flag.StringVar(&o.tokenFile, "token-file", "", "`file` with the bearer token, read again when it changes")
	flag.StringVar(&o.caFile, "ca-file", "", "`file` with the certificates to trust")
	flag.BoolVar(&o.insecure, "insecure", false, "trust any certificate")
	flag.StringVar(&o.name, "name", "", "name of the VirtualMCPServer (required)")
	flag.StringVar(&o.namespace, "namespace", "default", "namespace of the VirtualMCPServer")
	flag.Float64Var(&o.qps, "qps", 0, "requests per second that the client allows itself; 0 is client-go's default of 5 (bursts of 10), which ToolHive uses; -1 is no limit")
	flag.Parse()
	if err := run(context.Background(), o, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "toolhive-reporter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	config, err := o.restConfig()
	if err != nil {
		return err
	}
	reporter, err := status.NewK8sReporter(config, o.name, o.namespace)
	if err != nil {
		return err
	}

	// A Scanner limits the length of a line, and a status has no such limit.
	lines := bufio.NewReader(in)
	answers := json.NewEncoder(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			if err := answers.Encode(report(ctx, reporter, line)); err != nil {
				return fmt.Errorf("cannot answer: %w", err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read commands: %w", err)
		}
	}
}

// report times ReportStatus alone: reading the command is not ToolHive's cost.
func report(ctx context.Context, reporter status.Reporter, line []byte) answer {
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		return answer{Error: "cannot read the command: " + err.Error()}
	}
	if c.Status == nil {
		return answer{Error: `the command has no "status"`}
	}
	start := time.Now()
	err := reporter.ReportStatus(ctx, c.Status)
	a := answer{OK: err == nil, Millis: float64(time.Since(start)) / float64(time.Millisecond)}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// restConfig sets the token on the rest.Config itself, because client-go takes
// the token of a kubeconfig only when its server is https, and tests put a
// counting proxy without TLS in between.
func (o options) restConfig() (*rest.Config, error) {
	if o.kubeconfig == "" && o.server == "" {
		return nil, errors.New("one of --server and --kubeconfig is needed")
	}
	config := &rest.Config{}
	if o.kubeconfig != "" {
		var err error
		if config, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig); err != nil {
			return nil, err
		}
	}
	if o.server != "" {
		config.Host = o.server
	}
	if o.tokenFile != "" {
		config.BearerToken, config.BearerTokenFile = "", o.tokenFile
	}
	if o.caFile != "" {
		config.CAData, config.CAFile = nil, o.caFile
	}
	if o.insecure {
		// client-go refuses a config that has both certificates to trust and
		// the wish to trust any.
		config.TLSClientConfig.Insecure = true
		config.CAData, config.CAFile = nil, ""
	}
	config.QPS = float32(o.qps)
	return config, nil
}
