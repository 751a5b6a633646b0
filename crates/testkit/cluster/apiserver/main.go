// Command kube-apiserver is the API server of Kubernetes, unchanged. It lives in
// a module of its own because k8s.io/kubernetes cannot be built by a plain
// `go install`: its staging modules have no version there, so go.mod replaces
// each of them.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
