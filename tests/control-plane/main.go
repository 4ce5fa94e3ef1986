// control-plane runs etcd and kube-apiserver in one process, for tests.
//
//	control-plane ETCD-CONFIG-FILE [KUBE-APISERVER-FLAG...]
//
// The file is what etcd takes as --config-file and the flags are
// kube-apiserver's own, so that whoever starts this program can start the two
// separate programs with the same configuration instead.
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
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// Starting etcd takes a few hundredths of a second; on a machine that runs many
// control planes at once it can take a hundred times that.
const etcdStartTimeout = 60 * time.Second

func main() {
	go exitWithStandardInput()

	if len(os.Args) < 2 {
		fail("usage: control-plane ETCD-CONFIG-FILE [KUBE-APISERVER-FLAG...]")
	}
	// kube-apiserver's command takes SIGTERM and SIGINT too, for a graceful
	// shutdown; this handler comes first and does not wait for that.
	command := app.NewAPIServerCommand()
	go exitOnSignal()

	if err := startEtcd(os.Args[1]); err != nil {
		fail("etcd: %v", err)
	}
	command.SetArgs(os.Args[2:])
	os.Exit(cli.Run(command))
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
