//go:build tools

// Package critest names what the checked go.sum is for.
package critest

import (
	_ "github.com/kubernetes-sigs/cri-tools/cmd/critest"
)
