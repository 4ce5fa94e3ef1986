// control-plane is the control plane of the tests: etcd and kube-apiserver in
// one process, and kube-controller-manager in another where a test wants it.
//
//	control-plane kube-apiserver ETCD-CONFIG-FILE [KUBE-APISERVER-FLAG...]
//	control-plane kube-controller-manager [KUBE-CONTROLLER-MANAGER-FLAG...]
//
// The file is what etcd takes as --config-file and the flags are the
// programs' own, so that whoever starts this program can start the separate
// programs with the same configuration instead. The two processes of Kubernetes
// cannot be one: both set the feature gates and the logging of their process.
//
// It ends at once when standard input reaches its end, on SIGTERM and on
// SIGINT. A parent that holds the other end of that pipe cannot be outlived,
// not even when it is killed.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// Starting etcd takes a few hundredths of a second; on a machine that runs many
// control planes at once it can take a hundred times that.
const etcdStartTimeout = 60 * time.Second

func main() {
	go exitWithStandardInput()

	// The commands of Kubernetes take SIGTERM and SIGINT too, for a graceful
	// shutdown; this handler comes as well and does not wait for that.
	switch {
	case len(os.Args) > 2 && os.Args[1] == "kube-apiserver":
		command := apiserver.NewAPIServerCommand()
		go exitOnSignal()
		if err := startEtcd(os.Args[2]); err != nil {
			fail("etcd: %v", err)
		}
		command.SetArgs(os.Args[3:])
		os.Exit(cli.Run(command))
	case len(os.Args) > 1 && os.Args[1] == "kube-controller-manager":
		command := controllermanager.NewControllerManagerCommand()
		go exitOnSignal()
		command.SetArgs(os.Args[2:])
		os.Exit(cli.Run(command))
	default:
		fail("usage: control-plane kube-apiserver ETCD-CONFIG-FILE [FLAG...] | kube-controller-manager [FLAG...]")
	}
}

// Exiting without a shutdown loses nothing: etcd has written its log to the
// kernel before it answers, and without fsync only a crash of the machine can
// take that back.
func exitWithStandardInput() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func exitOnSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	os.Exit(0)
}

// startEtcd returns when etcd serves clients.
func startEtcd(configFile string) error {
	config, err := embed.ConfigFromFile(configFile)
	if err != nil {
		return err
	}
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	go func() {
		fail("etcd: %v", <-server.Err())
	}()
	select {
	case <-server.Server.ReadyNotify():
		return nil
	case <-server.Server.StopNotify():
		return fmt.Errorf("stopped while starting")
	case <-time.After(etcdStartTimeout):
		return fmt.Errorf("not ready after %v", etcdStartTimeout)
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "control-plane: "+format+"\n", arguments...)
	os.Exit(1)
}
